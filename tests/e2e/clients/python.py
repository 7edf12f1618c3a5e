"""The official Python SDK, driven over stdin and stdout: see __init__.py."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import centrifuge

from tests.e2e.clients.stdio import Command, say, serve

Fields = dict[str, Any]


class ClientEvents:
    """A ``centrifuge.ClientEventHandler``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _say(self, event: str, /, **fields: object) -> None:
        say(self._name, event, **fields)

    async def on_connecting(self, ctx: Any) -> None:
        self._say("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx: Any) -> None:
        self._say("connected", client=ctx.client)

    async def on_disconnected(self, ctx: Any) -> None:
        self._say("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx: Any) -> None:
        self._say("error", **_error(ctx.error))

    async def on_subscribing(self, ctx: Any) -> None:
        self._say("subscribing", channel=ctx.channel, server_side=True)

    async def on_subscribed(self, ctx: Any) -> None:
        self._say("subscribed", channel=ctx.channel, server_side=True, **_recovery(ctx))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._say("unsubscribed", channel=ctx.channel, server_side=True)

    async def on_publication(self, ctx: Any) -> None:
        publication = _publication(ctx.pub)
        self._say("publication", channel=ctx.channel, server_side=True, **publication)

    async def on_join(self, ctx: Any) -> None:
        self._say("joined", channel=ctx.channel, server_side=True, info=_info(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._say("left", channel=ctx.channel, server_side=True, info=_info(ctx.info))


class SubscriptionEvents:
    """A ``centrifuge.SubscriptionEventHandler``."""

    def __init__(self, name: str, channel: str) -> None:
        self._name = name
        self._channel = channel

    def _say(self, event: str, /, **fields: object) -> None:
        say(self._name, event, channel=self._channel, **fields)

    async def on_subscribing(self, _ctx: Any) -> None:
        self._say("subscribing")

    async def on_subscribed(self, ctx: Any) -> None:
        self._say("subscribed", **_recovery(ctx))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._say("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: Any) -> None:
        self._say("publication", **_publication(ctx.pub))

    async def on_join(self, ctx: Any) -> None:
        self._say("joined", info=_info(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._say("left", info=_info(ctx.info))

    async def on_error(self, ctx: Any) -> None:
        self._say("error", **_error(ctx.error))


class Clients:
    """The clients of this process, by name."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def obey(self, command: Command) -> None:
        do = command["do"]
        if do in CALLS:
            call = CALLS[do](self._clients[command["as"]], command)
            task = asyncio.create_task(_reply(command, call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        else:
            await getattr(self, do)(command)

    async def connect(self, command: Command) -> None:
        client = centrifuge.Client(
            command["url"],
            ClientEvents(command["as"]),
            token=command.get("token", ""),
            timeout=10.0,
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.5,
            proxy=None,
        )
        self._clients[command["as"]] = client
        await client.connect()

    async def disconnect(self, command: Command) -> None:
        await self._clients[command["as"]].disconnect()

    async def subscribe(self, command: Command) -> None:
        client, channel = self._clients[command["as"]], command["channel"]
        subscription = client.get_subscription(channel)
        if subscription is None:
            subscription = client.new_subscription(
                channel,
                SubscriptionEvents(command["as"], channel),
                token=command.get("token", ""),
                recoverable=command.get("recoverable", False),
                positioned=command.get("positioned", False),
                join_leave=command.get("join_leave", False),
                min_resubscribe_delay=0.05,
                max_resubscribe_delay=0.5,
            )
        await subscription.subscribe()

    async def unsubscribe(self, command: Command) -> None:
        await self._subscription(command).unsubscribe()

    async def churn(self, command: Command) -> None:
        subscription = self._subscription(command)
        for _ in range(command["times"]):
            await subscription.unsubscribe()
            await subscription.subscribe()
            # The SDK subscribes in a task of its own: let it start.
            await asyncio.sleep(0)

    def _subscription(self, command: Command) -> Any:
        return self._clients[command["as"]].get_subscription(command["channel"])


async def _publish(client: Any, command: Command) -> Fields:
    await client.publish(command["channel"], command["data"])
    return {}


async def _rpc(client: Any, command: Command) -> Fields:
    result = await client.rpc(command["method"], command.get("data"))
    return {"data": result.data}


async def _history(client: Any, command: Command) -> Fields:
    since = command.get("since")
    result = await client.history(
        command["channel"],
        limit=command.get("limit", 0),
        since=since and centrifuge.StreamPosition(**since),
        reverse=command.get("reverse", False),
    )
    publications = [_publication(each) for each in result.publications]
    return {"publications": publications, "offset": result.offset, "epoch": result.epoch}


async def _presence(client: Any, command: Command) -> Fields:
    result = await client.presence(command["channel"])
    return {"clients": {name: _info(info) for name, info in result.clients.items()}}


async def _presence_stats(client: Any, command: Command) -> Fields:
    result = await client.presence_stats(command["channel"])
    return {"num_clients": result.num_clients, "num_users": result.num_users}


CALLS: dict[str, Callable[[Any, Command], Awaitable[Fields]]] = {
    "publish": _publish,
    "rpc": _rpc,
    "history": _history,
    "presence": _presence,
    "presence_stats": _presence_stats,
}


async def _reply(command: Command, call: Awaitable[Fields]) -> None:
    try:
        outcome = {"result": await call}
    except centrifuge.CentrifugeError as error:
        outcome = {"error": _error(error)}
    say(command["as"], "reply", id=command["id"], **outcome)


def _error(error: Exception) -> Fields:
    if isinstance(error, centrifuge.ReplyError):
        return {"code": error.code, "message": error.message}
    return {"message": repr(error)}


def _recovery(ctx: Any) -> Fields:
    position = ctx.stream_position
    return {
        "recoverable": ctx.recoverable,
        "was_recovering": ctx.was_recovering,
        "recovered": ctx.recovered,
        **({"offset": position.offset, "epoch": position.epoch} if position else {}),
    }


def _publication(publication: Any) -> Fields:
    fields = {"data": publication.data}
    if publication.offset:
        fields["offset"] = publication.offset
    if publication.tags:
        fields["tags"] = publication.tags
    if publication.info:
        fields["info"] = _info(publication.info)
    return fields


def _info(info: Any) -> Fields:
    return {"client": info.client, "user": info.user}


if __name__ == "__main__":
    asyncio.run(serve(Clients().obey))
