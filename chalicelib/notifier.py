"""The application's side: publish to channels, move users in and out of them.

What every HTTP route, queue and schedule calls::

    from chalicelib.bootstrap import notifier

    notifier().publish("orders:42", {"status": "shipped"})
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from chalicelib import limits, logs
from chalicelib.channels import Channels, shard_of
from chalicelib.connections import Connections
from chalicelib.errors import ClientError, ErrorCode, UnsubscribeCode
from chalicelib.fanout import Fanout
from chalicelib.model import (
    ClientInfo,
    Connection,
    Delivery,
    Disconnect,
    Post,
    Publication,
    Report,
    Subscription,
)
from chalicelib.ports import Store, Transport
from chalicelib.protocol import DIALECTS
from chalicelib.protocol.commands import Pub, Push, Subscribed, Unsubscribed, one_line
from chalicelib.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Census:
    """How many connections, users with at least one, subscriptions, channels with at least one."""

    clients: int
    users: int
    subscriptions: int
    channels: int


class Notifier:
    """Publishes; knows nothing of HTTP, sockets or tables."""

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        transport: Transport,
        channels: Channels,
        fanout: Fanout,
        subscriptions: Subscriptions,
        connections: Connections,
        max_data_bytes: int,
    ) -> None:
        self._store = store
        self._transport = transport
        self._channels = channels
        self._fanout = fanout
        self._subscriptions = subscriptions
        self._connections = connections
        self._max_data_bytes = max_data_bytes

    # -- To channels

    def publish(
        self,
        channel: str,
        data: object,
        *,
        tags: Mapping[str, str] | None = None,
        info: ClientInfo | None = None,
        exclude: str = "",
    ) -> Report:
        """Send ``data`` to everyone in a channel, at most once, and say what became of it.

        Args:
            channel: Its name, ``namespace:name`` or without a namespace.
            data: Anything that JSON can hold, or ``msgspec.Raw`` JSON, which is passed on as it is.
            tags: Text by name, delivered beside the data.
            info: The client that published, if one did.
            exclude: A client id that shall not get it.

        Raises: ClientError 102, 106 or 107.
        """
        options = self._channels.options(channel)
        publication = Publication(self._encode(data), info=info, tags=tags)
        report = self._fanout.send(
            channel, options.shards, Pub(channel, publication), exclude=exclude
        )
        logs.info(
            "published",
            channel=channel,
            delivered=report.delivered,
            gone=report.gone,
            failed=report.failed,
        )
        return report

    # -- To one client

    def subscribe(self, client: str, channel: str) -> None:
        """Put a client into a channel and tell it; nothing happens if it is in, or unknown.

        Raises: ClientError 102, 106 or 107.
        """
        options = self._channels.options(channel)
        connection = self._store.connection(client)
        if connection is None or not connection.dialect or channel in connection.channels:
            return
        row = Subscription(
            channel=channel,
            shard=shard_of(client, options.shards),
            connection_id=client,
            order=max(connection.newest_order(channel), 0),
            dialect=connection.dialect,
            expires_at=connection.expires_at,
            user=connection.user,
        )
        self._subscriptions.enter(row, connection, wait=0)
        self._tell(connection, Subscribed(channel))

    def unsubscribe(self, client: str, channel: str) -> None:
        """Take a client out of a channel and tell it; nothing happens if it is not in.

        Raises: ClientError 102 or 107.
        """
        self._channels.options(channel)
        connection = self._store.connection(client)
        if connection is None or channel not in connection.channels:
            return
        if self._subscriptions.leave(connection, channel, connection.newest_order(channel)):
            ended = UnsubscribeCode.SERVER
            self._tell(connection, Unsubscribed(channel, ended.value, "server unsubscribe"))

    def disconnect(self, client: str, why: Disconnect) -> None:
        """Tell a client why, and close its connection; nothing happens if it is unknown."""
        self._connections.cut([client], why)

    def _tell(self, connection: Connection, push: Push) -> None:
        post = Post(connection.id, DIALECTS[connection.dialect].frames([push]))
        for connection_id, delivery in self._transport.send([post], within=limits.REPLY_SECONDS):
            if delivery is Delivery.GONE:
                self._connections.forget([connection_id])

    # -- About channels and connections

    def channels(self, pattern: str = "") -> dict[str, int]:
        """The channels that somebody is in and that match a shell-style pattern, with how many.

        Reads every connection: for people and dashboards, not for a request path.
        Raises: ClientError 106 above ``limits.LISTED_CONNECTIONS`` connections.
        """
        counts: dict[str, int] = {}
        for connection in self._all_connections():
            for channel in connection.channels:
                if not pattern or fnmatchcase(channel, pattern):
                    counts[channel] = counts.get(channel, 0) + 1
        return counts

    def census(self) -> Census:
        """How many are connected. Reads every connection, as ``channels`` does."""
        alive = list(self._all_connections())
        return Census(
            clients=len(alive),
            users=len({connection.user for connection in alive if connection.user}),
            subscriptions=sum(len(connection.channels) for connection in alive),
            channels=len({channel for connection in alive for channel in connection.channels}),
        )

    def _all_connections(self) -> Iterator[Connection]:
        seen = 0
        for page in self._store.connections():
            seen += len(page)
            if seen > limits.LISTED_CONNECTIONS:
                raise ClientError(
                    ErrorCode.LIMIT_EXCEEDED,
                    f"more than {limits.LISTED_CONNECTIONS} connections cannot be listed",
                )
            yield from page

    def _encode(self, data: object) -> msgspec.Raw:
        raw = one_line(msgspec.json.encode(data))
        if len(memoryview(raw)) > self._max_data_bytes:
            raise ClientError(
                ErrorCode.LIMIT_EXCEEDED,
                f"data has {len(memoryview(raw))} bytes, at most {self._max_data_bytes}",
            )
        return raw
