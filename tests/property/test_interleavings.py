"""Whatever runs between any two steps of any process: everybody sees everything, in order.

See docs/delivery.md; the explicit-state model of the same algorithm is in tests/model.
"""

import random
from collections.abc import Callable

import pytest
from greenlet import greenlet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.ports import Store, Streams
from chalicelib.store.memory import MemoryStore, MemoryStreams
from tests.support.interleaving import (
    Scheduler,
    Subscriber,
    published,
    stepping_world,
)
from tests.support.table import Table, engine
from tests.support.world import Clock, World

CHANNEL = "long:a"
seeds = st.integers(0, 2**32)
stickiness = st.sampled_from([0.0, 0.5, 0.8, 0.95])


def in_memory(clock: Clock) -> tuple[Store, Streams]:
    return MemoryStore(clock), MemoryStreams(clock)


def publisher(world: World, count: int) -> Callable[[], None]:
    def publish() -> None:
        for _ in range(count):
            world.notifier.publish(CHANNEL, "x")

    return publish


def settle(world: World, scheduler: Scheduler, subscribers: list[Subscriber]) -> None:
    """Let the leases of the dead run out, sweep, and let who was cut come back."""
    for _ in range(6):
        world.clock.now += 31
        world.app.sweep.run()
        for subscriber in subscribers:
            subscriber.read()
            connection = world.store.connection(subscriber.connection_id)
            if subscriber.is_cut or connection is None or CHANNEL not in connection.channels:
                subscriber.live()
    for subscriber in subscribers:
        subscriber.read()


def check(world: World, subscribers: list[Subscriber]) -> None:
    for subscriber in subscribers:
        expected = [offset for offset in published(world, CHANNEL) if offset > subscriber.joined]
        assert subscriber.seen == expected, subscriber.name


def come_and_go(
    subscriber: Subscriber, scheduler: Scheduler, dice: random.Random, lives: int
) -> Callable[[], None]:
    """A client that is cut again and again, at any moment, and comes back."""
    world = subscriber.world

    def live() -> None:
        for _ in range(lives):
            for _ in range(dice.randrange(40)):
                scheduler.step()
            lost = subscriber.connection_id
            world.transport.lose(lost)
            subscriber.read()
            subscriber.live()
            if dice.random() < 0.5:
                world.hub.disconnect(lost)

    return live


def reaper(
    scheduler: Scheduler, dice: random.Random, victims: list[greenlet], crashes: int
) -> Callable[[], None]:
    """Kills processes, each at any of its steps."""

    def kill() -> None:
        for _ in range(crashes):
            for _ in range(dice.randrange(60)):
                scheduler.step()
            scheduler.crash(dice.choice(victims))

    return kill


def run(  # noqa: PLR0913 the sizes of a run
    seed: int,
    sticky: float,
    peers: Callable[[Clock], tuple[Store, Streams]],
    *,
    publishers: int = 3,
    each: int = 4,
    clients: int = 3,
    lives: int = 3,
    crashes: int = 0,
) -> None:
    """Publish and join at once, cut every client several times, kill some processes."""
    scheduler, dice = Scheduler(seed, sticky), random.Random(seed)
    world = stepping_world(scheduler, peers)
    subscribers = [Subscriber(world, f"s{n}", CHANNEL) for n in range(clients)]
    victims = [scheduler.start(publisher(world, each)) for _ in range(publishers)]
    for subscriber in subscribers:
        victims.append(scheduler.start(come_and_go(subscriber, scheduler, dice, lives)))
    scheduler.start(reaper(scheduler, dice, victims, crashes))
    scheduler.run()
    if not crashes:
        assert world.app.fanout.lagging(CHANNEL) == []
        assert len(published(world, CHANNEL)) == publishers * each
    settle(world, scheduler, subscribers)
    check(world, subscribers)
    if not crashes:
        assert [subscriber.duplicates for subscriber in subscribers] == [0] * clients
    scheduler.over = True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=seeds, sticky=stickiness)
def test_every_interleaving_delivers_everything_in_order(seed: int, sticky: float) -> None:
    run(seed, sticky, in_memory)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=seeds, sticky=stickiness)
def test_processes_that_die_anywhere_lose_nothing_that_was_accepted(
    seed: int, sticky: float
) -> None:
    run(seed, sticky, in_memory, crashes=2)


@pytest.fixture(scope="module")
def dynamodb_peers() -> object:
    with engine() as url:

        def peers(clock: Clock) -> tuple[Store, Streams]:
            table = Table(url, clock, clock.sleep, page=0)
            return table.store, table.streams

        yield peers


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(seed=seeds, sticky=stickiness)
def test_the_same_holds_on_a_dynamodb_api(
    dynamodb_peers: Callable[[Clock], tuple[Store, Streams]], seed: int, sticky: float
) -> None:
    run(seed, sticky, dynamodb_peers, publishers=2, each=2, clients=1, lives=2, crashes=1)
