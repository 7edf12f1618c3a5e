"""Messages that come in from AWS: what is published, where, once; and what can never be."""

import base64
import json
from typing import Any

import pytest

from chalicelib.api.ingest import Message, publish, take_all
from chalicelib.errors import ClientError, ErrorCode
from tests.support.world import World

ROUTES = {"order.shipped": "kept:orders", "carillon-ingest": "kept:all"}


@pytest.fixture
def world() -> World:
    world = World()
    for channel in ("kept:here", "kept:orders", "kept:all", "kept:attribute"):
        world.join(channel, channel)
    return world


def incoming(body: object, **fields: Any) -> Message:
    return Message("m-1", json.dumps(body).encode(), **fields)


def heard(world: World, channel: str) -> list[Any]:
    return [frame["data"] for frame in world.heard(channel) if frame["event"] == "publication"]


def event(**fields: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.shipped", **fields}


@pytest.mark.parametrize(
    ("message", "channel", "data"),
    [
        (incoming({"channel": "kept:here", "data": {"n": 1}}), "kept:here", {"n": 1}),
        (incoming({"channel": "", "data": 1}, channel="kept:attribute"), "kept:attribute", 1),
        (incoming({"free": "form"}, channel="kept:attribute"), "kept:attribute", {"free": "form"}),
        (incoming([1, 2], names=("carillon-ingest",)), "kept:all", [1, 2]),
        (incoming(event(data={"n": 2})), "kept:orders", {"n": 2}),
        (incoming(event(data=3, channel="kept:here")), "kept:here", 3),
        (incoming(event(data_base64=base64.b64encode(b"[4]").decode())), "kept:orders", [4]),
        (incoming(event()), "kept:orders", None),
        (incoming(event(type="other"), names=("carillon-ingest",)), "kept:all", None),
    ],
)
def test_a_message_goes_to_its_channel(
    world: World, message: Message, channel: str, data: object
) -> None:
    publish(message, world.notifier, ROUTES)

    assert heard(world, channel) == [data]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (
            incoming({"channel": "kept:here", "data": 1}),
            incoming({"channel": "kept:here", "data": 1}),
        ),
        (
            incoming(event(data=1, channel="kept:here")),
            Message("m-2", json.dumps(event(data=1, channel="kept:here")).encode()),
        ),
    ],
    ids=["the same message", "the same event in another message"],
)
def test_what_comes_twice_is_published_once(world: World, first: Message, again: Message) -> None:
    publish(first, world.notifier, ROUTES)
    publish(again, world.notifier, ROUTES)

    assert heard(world, "kept:here") == [1]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Message("m-1", b"not json", channel="kept:here"), "malformed"),
        (Message("m-1", b"\xff", channel="kept:here"), "malformed|UTF-8"),
        (incoming({"free": "form"}, names=("orders-queue",)), "INGEST_CHANNELS for orders-queue"),
        (incoming({"channel": "kept:here"}), "one of data and b64data is required"),
        (incoming({"channel": 7, "data": 1}), r"Expected `str`, got `int` - at `\$.channel`"),
        (incoming({"channel": "nowhere:x", "data": 1}), "unknown channel"),
        (incoming({"specversion": "0.3", "channel": "kept:here"}), "specversion|required field"),
        (incoming(event(data_base64="%%%")), "base64"),
        (incoming(event(data_base64=base64.b64encode(b"{").decode())), "truncated"),
        (incoming({"channel": "kept:here", "data": "x" * 70_000}), "at most 65536"),
    ],
)
def test_what_can_never_be_published_says_why(world: World, message: Message, problem: str) -> None:
    with pytest.raises(ClientError, match=problem) as raised:
        publish(message, world.notifier, ROUTES)

    assert not raised.value.reason.temporary


def test_a_failed_message_is_reported_and_the_others_are_taken() -> None:
    taken = []

    def take(message: Message) -> None:
        if message.id == "2":
            raise ClientError(ErrorCode.INTERNAL)
        taken.append(message.id)

    batch = [Message(each, b"") for each in "123"]

    assert take_all(batch, take, reports=True) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert taken == ["1", "3"]
    with pytest.raises(RuntimeError, match="1 messages failed"):
        take_all(batch, take, reports=False)


def test_a_batch_without_failures_reports_none() -> None:
    assert take_all([], print, reports=False) == {"batchItemFailures": []}
