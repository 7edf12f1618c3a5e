"""What every keeper of streams must do: the same suite on memory and on a DynamoDB API."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from chalicelib import limits
from chalicelib.model import ClientInfo, Cursor, Head, Position, Publication, Slot, Subscription
from chalicelib.ports import ClaimState, Flip, Reached, Store, Streams, Version
from chalicelib.store.memory import MemoryStore, MemoryStreams
from tests.support.table import ENGINES
from tests.support.world import Clock

KEEP = 1000.0


@pytest.fixture(params=["memory", *ENGINES])
def peers(request: pytest.FixtureRequest, clock: Clock) -> tuple[Store, Streams]:
    if request.param == "memory":
        return MemoryStore(clock), MemoryStreams(clock)
    table = request.getfixturevalue("tables")(request.param)
    return table.store, table.streams


@pytest.fixture
def store(peers: tuple[Store, Streams]) -> Store:
    return peers[0]


@pytest.fixture
def streams(peers: tuple[Store, Streams]) -> Streams:
    return peers[1]


def _allocate(streams: Streams, epoch: str = "e1", version: Version | None = None) -> Head | None:
    return streams.allocate("orders", epoch, keep=KEEP, version=version)


def _slot(clock: Clock, offset: int, epoch: str = "e1", *, ttl: float = 100.0) -> Slot:
    publication = Publication(msgspec.Raw(b'{"n":%d}' % offset), offset=offset, time=7)
    return Slot(offset, epoch, publication, clock() + ttl)


def _written(streams: Streams, clock: Clock, count: int) -> None:
    for _ in range(count):
        head = _allocate(streams)
        assert head is not None
        assert streams.write("orders", _slot(clock, head.top))


# -- Heads


def test_offsets_rise_by_one_in_one_life(streams: Streams, clock: Clock) -> None:
    first = _allocate(streams)
    began = clock()
    clock.now += 1
    second = _allocate(streams, epoch="another")

    assert first == Head(1, "e1", at=began)
    assert second == Head(2, "e1", at=clock(), prior_at=began)
    assert streams.head("orders") == second


def test_an_expired_head_begins_a_new_life(streams: Streams, clock: Clock) -> None:
    _allocate(streams)
    clock.now += KEEP + 1

    assert streams.head("orders") is None
    assert streams.newest("orders", after=0, limit=9).head is None
    head = _allocate(streams, epoch="e2")
    assert head is not None
    assert (head.top, head.epoch) == (1, "e2")


def test_a_stream_begins_once(streams: Streams, clock: Clock) -> None:
    assert streams.begin("orders", "e1", keep=KEEP).position == Position(0, "e1")
    assert streams.begin("orders", "e2", keep=KEEP).position == Position(0, "e1")
    clock.now += KEEP + 1
    assert streams.begin("orders", "e3", keep=KEEP).position == Position(0, "e3")


def test_many_writers_get_an_offset_each(streams: Streams) -> None:
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(lambda _: _allocate(streams), range(40)))

    assert sorted(head.top for head in heads if head) == list(range(1, 41))
    assert len({head.epoch for head in heads if head}) == 1


def test_a_version_that_is_not_above_the_last_is_dropped(streams: Streams) -> None:
    assert _allocate(streams, version=Version(5, "a")) is not None
    assert _allocate(streams, version=Version(5, "a")) is None
    assert _allocate(streams, version=Version(4, "a")) is None
    assert _allocate(streams, version=Version(6, "a")) is not None
    assert _allocate(streams, version=Version(1, "b")) is not None
    assert _allocate(streams) is not None


# -- Slots


def test_a_slot_is_read_as_it_was_written(streams: Streams, clock: Clock) -> None:
    head = _allocate(streams)
    assert head is not None
    publication = Publication(
        msgspec.Raw(b'{"caf\xc3\xa9": 1.0}'),
        info=ClientInfo("7", "c1"),
        tags={"kind": "new"},
        offset=1,
        time=1234,
        exclude="c2",
    )
    slot = Slot(1, "e1", publication, clock() + 10.5, prior_at=3.25, key="k")
    streams.write("orders", slot)

    assert streams.newest("orders", after=0, limit=9).slots == (slot,)
    assert streams.oldest("orders", after=0, limit=9) == streams.newest("orders", after=0, limit=9)


def test_a_tombstone_keeps_a_late_writer_out(streams: Streams, clock: Clock) -> None:
    _allocate(streams)
    tombstone = Slot(1, "e1", None, clock() + 10, lost=True)

    assert streams.write("orders", tombstone)
    assert not streams.write("orders", _slot(clock, 1))
    assert streams.newest("orders", after=0, limit=9).slots == (tombstone,)


def test_a_writer_or_one_of_many_tombstones_wins(streams: Streams, clock: Clock) -> None:
    _allocate(streams)
    slots = [_slot(clock, 1), *(Slot(1, "e1", None, clock() + 10) for _ in range(7))]
    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(lambda slot: streams.write("orders", slot), slots))

    assert wins.count(True) == 1


def test_an_expired_slot_gives_way_and_is_still_read(streams: Streams, clock: Clock) -> None:
    _allocate(streams)
    streams.write("orders", _slot(clock, 1, ttl=5))
    clock.now += 6

    assert [slot.offset for slot in streams.newest("orders", after=0, limit=9).slots] == [1]
    assert streams.write("orders", _slot(clock, 1))


@pytest.mark.parametrize(
    ("after", "limit", "newest", "oldest"),
    [
        (0, 4, [7, 8, 9, 10], [1, 2, 3, 4]),
        (8, 4, [9, 10], [9, 10]),
        (10, 4, [], []),
        (99, 4, [], []),
        (-1, 50, list(range(1, 11)), list(range(1, 11))),
    ],
)
def test_pages_run_from_either_end(
    streams: Streams, clock: Clock, after: int, limit: int, newest: list[int], oldest: list[int]
) -> None:
    _written(streams, clock, 10)
    from_top = streams.newest("orders", after=after, limit=limit)
    from_bottom = streams.oldest("orders", after=after, limit=limit)

    assert from_top.head is not None
    assert [slot.offset for slot in from_top.slots] == newest
    assert [slot.offset for slot in from_bottom.slots] == oldest
    assert (from_bottom.head is not None) == (len(oldest) < limit)


def test_a_page_between_two_offsets(streams: Streams, clock: Clock) -> None:
    _written(streams, clock, 10)

    def offsets(before: int, after: int, limit: int) -> list[int]:
        page = streams.below("orders", before=before, after=after, limit=limit)
        assert page.head is None
        return [slot.offset for slot in page.slots]

    assert offsets(8, 3, 9) == [4, 5, 6, 7]
    assert offsets(8, 3, 2) == [6, 7]
    assert offsets(4, 3, 9) == []
    assert offsets(1, 3, 9) == []


def test_slots_of_another_life_are_told_apart(streams: Streams, clock: Clock) -> None:
    _written(streams, clock, 3)
    clock.now += KEEP + 1
    _allocate(streams, epoch="e2")
    streams.write("orders", _slot(clock, 1, "e2"))

    newest = streams.newest("orders", after=0, limit=9)
    assert [(slot.offset, slot.epoch) for slot in newest.slots] == [(1, "e2")]


def test_removing_history_raises_the_floor(streams: Streams, clock: Clock) -> None:
    _written(streams, clock, 3)
    streams.remove_history("orders")
    streams.remove_history("nothing")

    head = streams.head("orders")
    assert head is not None
    assert (head.top, head.floor) == (3, 3)
    assert streams.head("nothing") is None


# -- Cursors


def test_one_holds_a_shard_and_the_others_ring(streams: Streams, clock: Clock) -> None:
    assert streams.cursor("orders", 0).sent == 0
    taken = streams.take("orders", 0, "a", until=clock() + 30)
    assert taken is not None
    assert (taken.sent, taken.rings) == (0, 1)
    assert streams.take("orders", 0, "b", until=clock() + 30) is None
    assert streams.take("orders", 1, "b", until=clock() + 30) is not None
    assert streams.cursor("orders", 0).rings == 2


def _reached(clock: Clock, holder: str, offset: int, rings: int) -> Reached:
    return Reached(holder, Position(offset, "e1"), rings, clock() + 30)


def test_a_rung_shard_stays_held_until_its_holder_has_looked_again(
    streams: Streams, clock: Clock
) -> None:
    taken = streams.take("orders", 0, "a", until=clock() + 30)
    assert taken is not None
    streams.take("orders", 0, "b", until=clock() + 30)
    again = streams.advance("orders", 0, _reached(clock, "a", 5, taken.rings))

    assert again == Cursor(sent=5, epoch="e1", rings=2)
    assert streams.take("orders", 0, "c", until=clock() + 30) is None
    assert streams.advance("orders", 0, _reached(clock, "a", 6, 3)) is None
    freed = streams.take("orders", 0, "c", until=clock() + 30)
    assert freed is not None
    assert (freed.sent, freed.epoch) == (6, "e1")


def test_a_lease_that_ran_out_is_taken_over(streams: Streams, clock: Clock) -> None:
    streams.take("orders", 0, "a", until=clock() + 30)
    clock.now += 31
    assert streams.take("orders", 0, "b", until=clock() + 30) is not None

    assert streams.advance("orders", 0, _reached(clock, "a", 9, 9)) is None
    assert streams.cursor("orders", 0).sent == 0


def test_taking_again_what_one_holds_is_taking_it(streams: Streams, clock: Clock) -> None:
    """The answer to a write may be lost, and the write made again."""
    assert streams.take("orders", 0, "a", until=clock() + 30) is not None
    assert streams.take("orders", 0, "a", until=clock() + 30) is not None


def test_writing_again_what_was_written_is_writing_it(streams: Streams, clock: Clock) -> None:
    _allocate(streams)

    assert streams.write("orders", _slot(clock, 1))
    assert streams.write("orders", _slot(clock, 1))


def test_one_of_many_takers_holds_a_shard(streams: Streams, clock: Clock) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(
            pool.map(lambda n: streams.take("orders", 0, f"h{n}", until=clock() + 30), range(16))
        )

    assert sum(cursor is not None for cursor in taken) == 1
    assert streams.cursor("orders", 0).rings == 16


# -- Joins


def _joining(clock: Clock, order: int = 5) -> Subscription:
    return Subscription("orders", 0, "c1", order, "action", clock() + 100, joining_since=clock())


def _row(store: Store) -> Subscription:
    (page,) = store.subscriptions("orders", 0)
    (row,) = page
    return row


def test_a_join_goes_live_from_its_position(store: Store, clock: Clock) -> None:
    store.put_subscription(_joining(clock))

    assert store.go_live(_joining(clock), Position(7, "e1")) is Flip.LIVE
    row = _row(store)
    assert (row.joining_since, row.deliver_after, row.epoch) == (0.0, 7, "e1")
    assert store.go_live(_joining(clock), Position(8, "e1")) is Flip.OVER


def test_a_join_that_missed_something_reads_on(store: Store, clock: Clock) -> None:
    store.put_subscription(_joining(clock))
    marked = store.mark_missed(_joining(clock), 9)

    assert marked is not None
    assert (marked.missed, bool(marked.joining_since)) == (9, True)
    assert store.go_live(_joining(clock), Position(8, "e1")) is Flip.BEHIND
    assert store.go_live(_joining(clock), Position(9, "e1")) is Flip.LIVE
    assert _row(store).missed == 0


def test_what_was_missed_never_shrinks(store: Store, clock: Clock) -> None:
    store.put_subscription(_joining(clock))
    store.mark_missed(_joining(clock), 9)
    store.mark_missed(_joining(clock), 4)

    assert _row(store).missed == 9


def test_a_live_row_is_returned_and_not_marked(store: Store, clock: Clock) -> None:
    store.put_subscription(_joining(clock))
    store.go_live(_joining(clock), Position(7, "e1"))
    there = store.mark_missed(_joining(clock), 9)

    assert there is not None
    assert (there.joining_since, there.deliver_after, there.missed) == (0.0, 7, 0)
    assert _row(store) == there


def test_another_join_is_over_to_this_one(store: Store, clock: Clock) -> None:
    store.put_subscription(_joining(clock, order=6))

    assert store.go_live(_joining(clock, order=5), Position(7, "e1")) is Flip.OVER
    there = store.mark_missed(_joining(clock, order=5), 9)
    assert there is not None
    assert (there.order, there.missed) == (6, 0)


def test_a_row_that_is_no_more_is_over(store: Store, clock: Clock) -> None:
    assert store.go_live(_joining(clock), Position(7, "e1")) is Flip.OVER
    assert store.mark_missed(_joining(clock), 9) is None


# -- Idempotency keys


def test_a_key_is_claimed_then_done(streams: Streams, clock: Clock) -> None:
    assert streams.claim("orders", "k", "body").state is ClaimState.NEW
    assert streams.claim("orders", "k", "body").state is ClaimState.BUSY
    assert streams.claim("orders", "k", "other").state is ClaimState.OTHER_BODY
    assert streams.claim("another", "k", "other").state is ClaimState.NEW
    streams.complete("orders", "k", "body", Position(7, "e1"))
    done = streams.claim("orders", "k", "body")

    assert (done.state, done.position) == (ClaimState.DONE, Position(7, "e1"))
    assert streams.claim("orders", "k", "other").state is ClaimState.OTHER_BODY
    clock.now += limits.IDEMPOTENCY_SECONDS + 1
    assert streams.claim("orders", "k", "other").state is ClaimState.NEW


def test_a_dead_claim_is_taken_over(streams: Streams, clock: Clock) -> None:
    streams.claim("orders", "k", "body")
    clock.now += limits.IDEMPOTENCY_CLAIM_SECONDS + 1

    assert streams.claim("orders", "k", "other").state is ClaimState.OTHER_BODY
    assert streams.claim("orders", "k", "body").state is ClaimState.TAKEN_OVER
    assert streams.claim("orders", "k", "body").state is ClaimState.BUSY


def test_one_of_many_claims_is_new(streams: Streams) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: streams.claim("orders", "k", "body"), range(16)))

    states = [claim.state for claim in claims]
    assert (states.count(ClaimState.NEW), states.count(ClaimState.BUSY)) == (1, 15)
