"""Recovery, history, presence and joining, through the official SDKs and plain action frames."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ  # noqa: TID251 where the stack's table is
from time import sleep, time  # noqa: TID251 a writer's clock, beside the app's
from typing import Any

import boto3  # noqa: TID251 a test's own client of the engine
import msgspec
import pytest

from chalicelib import bootstrap
from chalicelib.channels import Options
from chalicelib.model import Publication
from chalicelib.store import keys
from chalicelib.store.streams import DynamoStreams
from chalicelib.store.table import Table
from chalicelib.streams import Log
from tests.e2e.clients import Client, Event, event
from tests.e2e.conftest import Clients
from tests.support.stack import Stack

HISTORY = 100  # what the channels without a namespace keep, in chalicelib/channels-local.json
LIMIT = 300  # publications that a recovery may hold


# -- What makes things go wrong


@dataclass
class Door:
    """Where clients come in, unless it is shut: then they try again and again."""

    stack: Stack
    is_shut: bool = False

    def __enter__(self) -> "Door":
        connect = self.stack.handlers["$connect"]

        def connect_or_not(event: Any, context: Any) -> Any:
            return {"statusCode": 503} if self.is_shut else connect(event, context)

        self.stack.gateway.use({**self.stack.handlers, "$connect": connect_or_not})
        return self

    def __exit__(self, *_error: object) -> None:
        self.stack.gateway.quiet()
        self.stack.gateway.use(self.stack.app)

    @contextmanager
    def away(self, *clients: Client) -> Iterator[None]:
        """The clients' sockets are cut, which nobody is told, and they are away meanwhile."""
        self.is_shut = True
        since = {client.name: len(client.events) for client in clients}
        for client in clients:
            self.stack.gateway.drop(_id(client))
        for client in clients:
            client.wait_for(event("connecting"), since=since[client.name])
        yield
        self.is_shut = False


@pytest.fixture
def door(stack: Stack) -> Iterator[Door]:
    with Door(stack) as door:
        yield door


class Backdoor:
    """Writes where the app reads: publications whose publishers died before they rang."""

    def __init__(self) -> None:
        settings = bootstrap.settings()
        self._channels = settings.channels
        self._table = Table(settings.table, clock=time, sleep=sleep)
        self._log = Log(
            DynamoStreams(self._table), clock=time, sleep=sleep, new_id=lambda: "backdoor"
        )

    def append(self, channel: str, *data: object) -> None:
        options: Options = self._channels.options(channel)
        for each in data:
            self._log.append(channel, options, Publication(msgspec.Raw(msgspec.json.encode(each))))

    def forget(self, channel: str) -> None:
        """The stream has expired, head and all."""
        client = boto3.client("dynamodb", endpoint_url=environ["AWS_ENDPOINT_URL"])
        found = client.query(
            TableName=self._table.name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": keys.stream_partition(channel)}},
        )
        for item in found["Items"]:
            key = {name: item[name] for name in ("pk", "sk")}
            client.delete_item(TableName=self._table.name, Key=key)
        client.close()


@pytest.fixture
def backdoor(stack: Stack) -> Backdoor:
    return Backdoor()


# -- Recovery through the SDKs


def test_a_cut_client_gets_exactly_what_it_missed(
    client: Client, stack: Stack, door: Door, channel: str
) -> None:
    client.subscribe(channel)
    _publish(stack, channel, range(3))
    _wait_for_data(client, channel, 2)

    with door.away(client):
        since = len(client.events)
        _publish(stack, channel, range(3, 8))

    back = _resubscribed(client, channel, since)
    assert (back["was_recovering"], back["recovered"]) == (True, True)
    _publish(stack, channel, [8])
    _wait_for_data(client, channel, 8)
    assert client.publications(channel) == list(range(9))
    assert _offsets(client, channel) == list(range(1, 10))
    assert stack.rows(channel) == [_id(client)]


def test_several_subscriptions_recover_in_one_reconnect(
    client: Client, stack: Stack, door: Door, channel: str
) -> None:
    channels = [f"{channel}-{number}" for number in range(5)]
    for name in channels:
        client.subscribe(name)
    stack.post("broadcast", {"channels": channels, "data": "before"})
    for name in channels:
        _wait_for_data(client, name, "before")

    with door.away(client):
        since = len(client.events)
        for data in ("meanwhile 1", "meanwhile 2"):
            stack.post("broadcast", {"channels": channels, "data": data})

    for name in channels:
        assert _resubscribed(client, name, since)["recovered"]
    stack.post("broadcast", {"channels": channels, "data": "after"})
    expected = ["before", "meanwhile 1", "meanwhile 2", "after"]
    for name in channels:
        _wait_for_data(client, name, "after")
        assert client.publications(name) == expected


def test_two_megabytes_are_recovered_in_order(
    client: Client, stack: Stack, door: Door, channel: str
) -> None:
    """A reply holds 128 KB at most, so nearly all of it follows as pushes, before it is live."""
    client.subscribe(channel)
    _publish(stack, channel, ["before"])
    _wait_for_data(client, channel, "before")
    backlog = [f"{number} ".ljust(50_000, "x") for number in range(40)]

    with door.away(client):
        since = len(client.events)
        _publish(stack, channel, backlog)

    back = _resubscribed(client, channel, since)
    assert back["recovered"]
    assert 1 < back["offset"] < 41
    _publish(stack, channel, ["after"])
    _wait_for_data(client, channel, "after")
    assert client.publications(channel) == ["before", *backlog, "after"]


def test_a_trimmed_history_is_not_recovered_and_then_it_is_live(
    client: Client, stack: Stack, door: Door, backdoor: Backdoor, channel: str
) -> None:
    client.subscribe(channel)
    _publish(stack, channel, ["before"])
    _wait_for_data(client, channel, "before")

    with door.away(client):
        since = len(client.events)
        backdoor.append(channel, *range(HISTORY + 1))

    back = _resubscribed(client, channel, since)
    assert (back["was_recovering"], back["recovered"]) == (True, False)
    assert back["offset"] == HISTORY + 2
    _publish(stack, channel, ["after"])
    _wait_for_data(client, channel, "after")
    assert client.publications(channel) == ["before", "after"]


def test_another_epoch_is_not_recovered_and_then_it_is_live(
    client: Client, stack: Stack, door: Door, backdoor: Backdoor, channel: str
) -> None:
    first = client.subscribe(channel)
    _publish(stack, channel, ["before"])
    _wait_for_data(client, channel, "before")

    with door.away(client):
        since = len(client.events)
        backdoor.forget(channel)
        _publish(stack, channel, ["in another life", "and again"])

    back = _resubscribed(client, channel, since)
    assert (back["was_recovering"], back["recovered"]) == (True, False)
    assert back["epoch"] != first["epoch"]
    _publish(stack, channel, ["after"])
    _wait_for_data(client, channel, "after")
    assert client.publications(channel) == ["before", "after"]


@pytest.mark.parametrize("sdk", ["js"])
def test_more_than_a_recovery_may_hold_is_not_recovered_in_part(
    clients: Clients, stack: Stack, door: Door, backdoor: Backdoor, channel: str
) -> None:
    """One client misses just as much as a recovery may hold, the other one publication more."""
    channel = f"feed:{channel}"
    fewer, more = clients(), clients()
    _publish(stack, channel, ["first"])
    for client in (fewer, more):
        client.connect(stack.ws)
        client.subscribe(channel)

    with door.away(more):
        _publish(stack, channel, ["second"])
        _wait_for_data(fewer, channel, "second")
        with door.away(fewer):
            since = {client.name: len(client.events) for client in (fewer, more)}
            backdoor.append(channel, *range(LIMIT))

    assert _resubscribed(fewer, channel, since[fewer.name])["recovered"]
    assert not _resubscribed(more, channel, since[more.name])["recovered"]
    _publish(stack, channel, ["after"])
    for client in (fewer, more):
        _wait_for_data(client, channel, "after")
    assert fewer.publications(channel) == ["second", *range(LIMIT), "after"]
    assert more.publications(channel) == ["after"]


def test_in_cache_mode_a_client_comes_back_to_the_newest(
    client: Client, stack: Stack, door: Door, channel: str
) -> None:
    channel = f"state:{channel}"
    client.subscribe(channel)
    _publish(stack, channel, ["first"])
    _wait_for_data(client, channel, "first")

    with door.away(client):
        since = len(client.events)
        _publish(stack, channel, range(5))

    assert _resubscribed(client, channel, since)["recovered"]
    _publish(stack, channel, ["after"])
    _wait_for_data(client, channel, "after")
    assert client.publications(channel) == ["first", 4, "after"]


def test_who_joins_while_others_publish_misses_and_repeats_nothing(
    clients: Clients, stack: Stack, channel: str
) -> None:
    """Each client begins somewhere, and from there on has everything, once and in order."""
    members = [clients() for _ in range(5)]
    for member in members:
        member.connect(stack.ws)
    done = threading.Event()
    publisher = threading.Thread(target=_publish_until, args=(stack, channel, done))
    publisher.start()
    try:
        for member in members:
            _await_offset(stack, channel, more=2)
            member.subscribe(channel)
        _await_offset(stack, channel, more=2)
    finally:
        done.set()
        publisher.join()
    _publish(stack, channel, ["the end"])

    for member in members:
        _wait_for_data(member, channel, "the end")
        (began,) = member.heard(event("subscribed", channel=channel))
        offsets = _offsets(member, channel)
        assert offsets == list(range(began["offset"] + 1, offsets[-1] + 1))
    assert len({_offsets(member, channel)[-1] for member in members}) == 1


# -- History and presence through the SDKs


def test_history_is_read_forward_backward_and_from_a_position(
    client: Client, stack: Stack, channel: str
) -> None:
    _publish(stack, channel, range(1, 11))

    def read(**fields: object) -> Any:
        return client.call("history", channel=channel, **fields)["result"]

    top = read(limit=0)
    assert (top["publications"], top["offset"]) == ([], 10)
    assert _history(read(limit=3)) == [1, 2, 3]
    assert _history(read(limit=3, reverse=True)) == [10, 9, 8]
    since = {"offset": 4, "epoch": top["epoch"]}
    assert _history(read(limit=2, since=since)) == [5, 6]
    assert _history(read(limit=2, since=since, reverse=True)) == [3, 2]
    assert _history(read(limit=-1)) == list(range(1, 11))


def test_history_of_another_epoch_is_error_112(client: Client, stack: Stack, channel: str) -> None:
    _publish(stack, channel, [1])

    since = {"offset": 0, "epoch": "another"}
    reply = client.call("history", channel=channel, limit=1, since=since)

    assert reply["error"]["code"] == 112


def test_presence_counts_who_is_there(clients: Clients, stack: Stack, channel: str) -> None:
    first, second = clients(), clients()
    ids = [each.connect(stack.ws) for each in (first, second)]
    for each in (first, second):
        each.subscribe(channel)

    members = first.call("presence", channel=channel)["result"]["clients"]
    stats = first.call("presence_stats", channel=channel)["result"]

    assert set(members) == set(ids)
    assert stats["num_clients"] == 2
    second.command("unsubscribe", channel=channel)
    second.wait_for(event("unsubscribed", channel=channel))
    second.call("rpc", method="echo", data="the unsubscribe has been sent")
    stack.gateway.quiet()
    assert set(first.call("presence", channel=channel)["result"]["clients"]) == {ids[0]}


def test_presence_where_there_is_none_is_error_108(client: Client, channel: str) -> None:
    """It may be asked for, in channels without a namespace only."""
    assert client.call("presence", channel=f"live:{channel}")["error"]["code"] in (103, 108)


def test_members_hear_who_comes_and_who_goes(clients: Clients, stack: Stack, channel: str) -> None:
    """Whoever goes without a word is found by the next publication."""
    watcher, first, second = clients(), clients(), clients()
    watcher.connect(stack.ws)
    watcher.subscribe(channel, join_leave=True)
    ids = [each.connect(stack.ws) for each in (first, second)]
    for each in (first, second):
        each.subscribe(channel)

    joined = watcher.wait_for_all(2, _has_joined(ids))
    first.command("unsubscribe", channel=channel)
    watcher.wait_for(lambda each: each["event"] == "left" and each["info"]["client"] == ids[0])
    second.command("disconnect")
    watcher.wait_for(lambda each: each["event"] == "left" and each["info"]["client"] == ids[1])

    assert [each["info"]["client"] for each in joined] == ids
    assert len(watcher.heard(event("left"))) == 2


def _has_joined(ids: Sequence[str]) -> Callable[[Event], bool]:
    """Whether somebody of these has joined: the watcher may hear of itself, too."""
    return lambda each: each["event"] == "joined" and each["info"]["client"] in ids


# -- Plain action frames


def test_a_plain_socket_recovers_from_a_position(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    before = _plain(plain_clients, stack).call("subscribe", channel=channel)
    _publish(stack, channel, range(5))

    socket = _plain(plain_clients, stack)
    since = {"offset": 2, "epoch": before["epoch"]}
    reply = socket.call("subscribe", channel=channel, recover=True, **since)

    assert reply["recovered"]
    assert reply["was_recovering"]
    assert [each["data"] for each in reply["publications"]] == [2, 3, 4]
    assert reply["offset"] == 5
    _publish(stack, channel, ["live"])
    assert socket.wait_for(event("publication"))["offset"] == 6


@pytest.mark.parametrize("position", [{"offset": 1, "epoch": "another"}, {"offset": 99}])
def test_a_plain_socket_is_told_what_it_cannot_have(
    plain_clients: Clients, stack: Stack, channel: str, position: dict[str, object]
) -> None:
    _publish(stack, channel, range(3))
    socket = _plain(plain_clients, stack)

    refused = socket.call("subscribe", channel=channel, recover=True, flag=2, **position)
    reply = socket.call("subscribe", channel=channel, recover=True, **position)

    assert refused["code"] == 112
    assert not reply.get("recovered", False)
    assert "publications" not in reply
    assert reply["offset"] == 3
    _publish(stack, channel, ["live"])
    assert socket.wait_for(event("publication"))["offset"] == 4


def test_a_plain_socket_may_have_its_backlog_in_few_frames(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    """What the reply has no room for comes in frames of up to 128 KB, as it asked for."""
    before = _plain(plain_clients, stack).call("subscribe", channel=channel)
    backlog = [f"{number} ".ljust(10_000, "x") for number in range(40)]
    _publish(stack, channel, backlog)

    socket = _plain(plain_clients, stack)
    since = {"offset": 0, "epoch": before["epoch"]}
    reply = socket.call("subscribe", channel=channel, recover=True, batch=True, **since)
    _publish(stack, channel, ["live"])
    socket.wait_until(lambda: "live" in _gathered(socket))

    assert 0 < len(reply["publications"]) < 40
    assert [each["data"] for each in reply["publications"]] + _gathered(socket) == [
        *backlog,
        "live",
    ]
    assert len(socket.heard(event("publications"))) < 10


def test_a_plain_socket_gets_the_newest_state_at_once(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    channel = f"state:{channel}"
    _publish(stack, channel, range(3))

    reply = _plain(plain_clients, stack).call("subscribe", channel=channel, recover=True)

    assert reply["recovered"]
    assert [each["data"] for each in reply["publications"]] == [2]


# -- What tests say


def _publish(stack: Stack, channel: str, data: Sequence[object]) -> None:
    """Publish one after another, in as few calls as fit."""
    commands = [{"publish": {"channel": channel, "data": each}} for each in data]
    for reply in stack.post("batch", {"commands": commands})["replies"]:
        assert "error" not in reply, reply


def _publish_until(stack: Stack, channel: str, done: threading.Event) -> None:
    number = 0
    while not done.is_set():
        _publish(stack, channel, [number])
        number += 1


def _await_offset(stack: Stack, channel: str, *, more: int) -> None:
    """Wait until so many more were published."""

    def top() -> int:
        offset: int = stack.post("history", {"channel": channel})["result"].get("offset", 0)
        return offset

    goal = top() + more
    while top() < goal:
        pass


def _resubscribed(client: Client, channel: str, since: int) -> Event:
    return client.wait_for(event("subscribed", channel=channel), since=since)


def _wait_for_data(client: Client, channel: str, data: object) -> None:
    client.wait_for(event("publication", channel=channel, data=data))


def _id(client: Client) -> str:
    """The id of the connection that a client has, or had last."""
    return str(client.heard(event("connected"))[-1]["client"])


def _offsets(client: Client, channel: str) -> list[int]:
    return [each["offset"] for each in client.heard(event("publication", channel=channel))]


def _history(result: Any) -> list[Any]:
    return [each["data"] for each in result["publications"]]


def _plain(plain_clients: Clients, stack: Stack) -> Client:
    socket = plain_clients()
    socket.connect(stack.ws)
    return socket


def _gathered(socket: Client) -> list[Any]:
    """The data of all pushes, whether they came alone or in an event of several."""
    found = []
    for each in socket.events:
        if each["event"] == "publications":
            found += [publication["data"] for publication in each["publications"]]
        elif each["event"] == "publication":
            found.append(each["data"])
    return found
