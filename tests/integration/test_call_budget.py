"""How many DynamoDB calls each operation makes: the figures that docs/data-model.md states."""

from collections.abc import Callable

import pytest

from tests.support.table import Table
from tests.support.world import Clock, World


@pytest.fixture
def world(table: Table, clock: Clock) -> World:
    return World(clock=clock, peers=(table.store, table.streams))


def _calls(table: Table, operation: Callable[[], object]) -> list[str]:
    table.calls.clear()
    operation()
    return list(table.calls)


def test_a_socket_opens_with_one_call(world: World, table: Table) -> None:
    assert _calls(table, lambda: world.open("c1")) == ["PutItem"]


def test_the_connect_command_takes_two(world: World, table: Table) -> None:
    world.open("c1")

    calls = _calls(table, lambda: world.say("c1", {"id": 1, "connect": {}}))
    assert calls == ["GetItem", "UpdateItem"]


def test_a_subscribe_takes_three(world: World, table: Table) -> None:
    world.open("c1")

    calls = _calls(table, lambda: world.say("c1", {"action": "subscribe", "channel": "a"}))
    assert calls == ["GetItem", "PutItem", "UpdateItem"]


def test_an_unsubscribe_takes_three(world: World, table: Table) -> None:
    world.join("c1", "a")

    calls = _calls(table, lambda: world.say("c1", {"action": "unsubscribe", "channel": "a"}))
    assert calls == ["GetItem", "UpdateItem", "DeleteItem"]


def test_a_publish_without_history_only_reads_the_shards(world: World, table: Table) -> None:
    for n in range(2):
        world.join(f"c{n}", "a")

    assert _calls(table, lambda: world.notifier.publish("a", 1)) == ["Query"]
    assert _calls(table, lambda: world.notifier.publish("wide:a", 1)) == ["Query"] * 4


def test_a_subscribe_with_a_stream_takes_five(world: World, table: Table) -> None:
    world.notifier.publish("kept:a", 1)
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}})

    subscribe = {"id": 2, "subscribe": {"channel": "kept:a"}}
    calls = _calls(table, lambda: world.say("c1", subscribe))
    assert calls == ["GetItem", "PutItem", "UpdateItem", "Query", "UpdateItem"]


def test_a_recovery_takes_as_many(world: World, table: Table) -> None:
    since = world.notifier.publish("kept:a", 1).position
    world.notifier.publish("kept:a", 2)
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}})

    ask = {"channel": "kept:a", "recover": True, "offset": since.offset, "epoch": since.epoch}
    calls = _calls(table, lambda: world.say("c1", {"id": 2, "subscribe": ask}))
    assert len(calls) == 5


def test_a_publish_with_history_takes_two_writes_and_four_calls_a_shard(
    world: World, table: Table
) -> None:
    world.join("c1", "kept:a")
    world.notifier.publish("kept:a", 1)

    calls = _calls(table, lambda: world.notifier.publish("kept:a", 2))
    assert calls == [
        *("UpdateItem", "PutItem"),
        *("UpdateItem", "Query", "Query", "UpdateItem"),
    ]


def test_a_disconnect_takes_a_delete_and_a_batch(world: World, table: Table) -> None:
    world.join("c1", "a")
    world.say("c1", {"action": "subscribe", "channel": "b"})

    calls = _calls(table, lambda: world.hub.disconnect("c1"))
    assert calls == ["DeleteItem", "BatchWriteItem"]
