"""What a process leaves behind that dies while a connection ends, and who takes it away."""

from dataclasses import replace

import pytest

from chalicelib import limits
from tests.support.world import World


@pytest.mark.parametrize("channel", ["news", "kept:news", "wide:news"])
def test_the_rows_of_a_forgotten_connection_go_with_the_next_publication(channel: str) -> None:
    """Somebody died between removing the connection and removing its rows."""
    world = World()
    world.join("c1", channel)
    world.join("c2", channel)
    world.store.remove_connection("c1")
    world.transport.lose("c1")

    first = world.notifier.publish(channel, 1).report
    second = world.notifier.publish(channel, 2).report

    assert (first.delivered, first.gone) == (1, 1)
    assert (second.delivered, second.gone) == (1, 0)


def test_the_joining_row_of_a_forgotten_connection_goes_in_the_end() -> None:
    """It joins for ever: there is nobody who would finish it, and no connection to cut."""
    world = World()
    world.join("c1", "kept:news")
    (row,) = next(world.store.subscriptions("kept:news", 0))
    world.store.remove_connection("c1")
    world.store.remove_subscription(row)
    world.store.put_subscription(replace(row, joining_since=world.clock()))
    world.clock.now += limits.JOIN_SECONDS + 1

    world.notifier.publish("kept:news", 1)

    assert world.rows("kept:news") == []


def test_the_rows_of_a_closing_connection_go_when_it_is_closed() -> None:
    """Somebody died between marking the connection and removing its rows."""
    world = World()
    world.join("c1", "news")
    world.store.mark_closing("c1")

    for _ in range(world.store.BUCKETS):
        world.app.sweep.run()

    assert world.transport.closed == ["c1"]
    assert world.rows("news") == []
