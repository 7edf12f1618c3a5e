"""What the sweep finds, and mends."""

import msgspec
import pytest

from chalicelib import limits
from chalicelib.model import Position
from tests.support.world import World


def _connected(world: World, *ids: str) -> None:
    world.open(*ids)
    for each in ids:
        world.say(each, {"id": 1, "connect": {}})


def test_clients_that_were_told_of_pings_get_them_and_others_are_asked_for() -> None:
    world = World()
    _connected(world, "c1")
    world.join("c2", "a")
    world.app.sweep.run()

    assert world.transport.frames["c1"][-1] == b"{}"
    assert world.heard("c2")[-1]["event"] == "subscribe"
    assert world.transport.probed["c2"] == 1


def test_without_pings_nobody_is_told_of_any_and_nobody_gets_one() -> None:
    world = World(ping=0)
    _connected(world, "c1")
    (reply,) = world.heard("c1")
    world.app.sweep.run()

    assert "ping" not in reply["connect"]
    assert world.heard("c1") == [reply]
    assert world.transport.probed["c1"] == 1


def test_the_ping_interval_is_announced() -> None:
    world = World()
    _connected(world, "c1")

    assert world.heard("c1")[0]["connect"]["ping"] == 540


def test_what_is_gone_without_a_disconnect_is_forgotten() -> None:
    world = World()
    _connected(world, "c1")
    world.say("c1", {"id": 2, "subscribe": {"channel": "a"}})
    world.join("c2", "a")
    world.transport.lose("c1")
    world.transport.lose("c2")
    swept = world.app.sweep.run()

    assert (swept.visited, swept.gone) == (2, 2)
    assert world.rows("a") == []
    assert world.store.connection("c1") is None


def test_a_connection_that_could_not_be_closed_is_closed_again() -> None:
    world = World()
    world.join("c1", "a")
    world.transport.fail("c1", after=1)
    world.notifier.publish("a", 1)
    assert world.store.connection("c1") is not None
    world.app.sweep.run()
    assert world.store.connection("c1") is not None
    world.transport.lose("c1")
    world.app.sweep.run()

    assert world.store.connection("c1") is None


def test_a_shard_whose_ring_was_lost_is_drained() -> None:
    world = World()
    world.join("c1", "kept:a")
    world.app.fanout.drain("kept:a", 0)
    publication = msgspec.Raw(b"1")
    options = world.settings.channels.options("kept:a")
    world.append("kept:a", options, publication)
    swept = world.app.sweep.run()

    assert swept.drained == 1
    assert world.heard("c1")[-1]["offset"] == 1
    assert world.streams.cursor("kept:a", 0).position == Position(1, _epoch(world))
    assert world.app.sweep.run().drained == 0


def _epoch(world: World) -> str:
    head = world.streams.head("kept:a")
    assert head is not None
    return head.epoch


def test_a_sweep_goes_on_where_the_last_one_ran_out_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    ids = [f"c{n:03}" for n in range(250)]
    _connected(world, *ids)
    monkeypatch.setattr(limits, "SWEEP_SECONDS", 0.0)
    visited = [world.app.sweep.run().visited for _ in range(3)]

    assert visited == [100, 100, 50]
    assert all(world.transport.frames[each].count(b"{}") == 1 for each in ids)


def test_a_join_that_was_never_finished_is_asked_to_come_back() -> None:
    """Its process died between the reply and going live: its client believes that it hears all."""
    world = World()
    _connected(world, "c1", "c2")
    world.say("c2", {"id": 2, "subscribe": {"channel": "kept:a"}})
    world.begin_join("c1", "kept:a")
    world.app.sweep.run()
    assert world.transport.closed == []

    world.clock.now += limits.JOIN_SECONDS + 1
    world.app.sweep.run()
    assert world.heard("c1")[-1]["push"]["disconnect"]["code"] == 3010
    assert world.transport.closed == ["c1"]
