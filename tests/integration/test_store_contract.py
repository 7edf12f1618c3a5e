"""What every store must do: the same suite on memory and on a DynamoDB API."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chalicelib.model import Connection, Identity, Left, Membership, Subscription
from chalicelib.ports import Store, Write
from chalicelib.store.memory import MemoryStore
from tests.support.table import ENGINES
from tests.support.world import Clock

WHO = Identity("7", info='{"name":"A"}', capabilities="[]", ends_at=1_900_000_000.5)


@pytest.fixture(params=["memory", *ENGINES])
def store(request: pytest.FixtureRequest, clock: Clock) -> Store:
    if request.param == "memory":
        return MemoryStore(clock, page=3)
    made: Store = request.getfixturevalue("tables")(request.param).store
    return made


def _connection(clock: Clock, connection_id: str = "c1", **fields: float) -> Connection:
    return Connection(connection_id, clock(), fields.get("expires_at", clock() + 100))


def _row(clock: Clock, connection_id: str = "c1", order: int = 5, **fields: object) -> Subscription:
    return Subscription(
        channel=str(fields.get("channel", "orders")),
        shard=0,
        connection_id=connection_id,
        order=order,
        dialect="action",
        expires_at=float(str(fields.get("expires_at", clock() + 100))),
        batch=bool(fields.get("batch", False)),
        user=str(fields.get("user", "")),
    )


def _rows(store: Store, channel: str = "orders", shard: int = 0) -> list[Subscription]:
    return [row for page in store.subscriptions(channel, shard) for row in page]


def _all_connections(store: Store) -> list[Connection]:
    buckets = range(store.BUCKETS)
    return [c for bucket in buckets for page in store.connections(bucket) for c in page]


# -- Connections


def test_a_connection_is_read_as_it_was_stored(store: Store, clock: Clock) -> None:
    connection = Connection("c1", clock() + 0.25, clock() + 100, dialect="action", identity=WHO)

    assert store.add_connection(connection)
    assert store.connection("c1") == connection


def test_a_taken_id_is_refused(store: Store, clock: Clock) -> None:
    first = _connection(clock)
    store.add_connection(first)

    assert not store.add_connection(_connection(clock, expires_at=clock() + 7))
    assert store.connection("c1") == first


def test_an_expired_connection_does_not_exist(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    clock.now += 101

    assert store.connection("c1") is None
    assert not store.identify("c1", "action", Identity())
    assert store.enter_channel(_row(clock), most=9) is Write.NO_CONNECTION
    assert store.leave_channel("c1", "orders", Left(9, clock())) is None
    assert not any(_all_connections(store))


def test_a_connection_identifies_itself_once(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))

    assert store.identify("c1", "centrifuge", WHO)
    assert not store.identify("c1", "action", Identity("8"))
    assert not store.identify("nobody", "action", Identity())
    found = store.connection("c1")
    assert found is not None
    assert (found.dialect, found.identity) == ("centrifuge", WHO)


def test_one_of_many_removals_gets_what_the_connection_was(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=9)
    with ThreadPoolExecutor(8) as pool:
        removed = list(pool.map(store.remove_connection, ["c1"] * 8))

    (winner,) = [each for each in removed if each is not None]
    assert winner.channels == {"orders": Membership(0, 5, clock())}
    assert store.connection("c1") is None


def test_a_closing_connection_takes_no_more(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=9)
    closing = store.mark_closing("c1")

    assert closing is not None
    assert closing.channels == {"orders": Membership(0, 5, clock())}
    assert store.enter_channel(_row(clock, channel="b"), most=9) is Write.NO_CONNECTION
    assert not store.identify("c1", "action", Identity())
    assert store.mark_closing("nobody") is None


def test_every_connection_is_listed_on_one_page_or_another(store: Store, clock: Clock) -> None:
    ids = {f"c{n}" for n in range(40)}
    for connection_id in ids:
        store.add_connection(_connection(clock, connection_id))

    assert {c.id for c in _all_connections(store)} == ids


def test_a_bucket_is_read_on_after_a_connection(store: Store, clock: Clock) -> None:
    for n in range(40):
        store.add_connection(_connection(clock, f"c{n}"))
    for bucket in range(store.BUCKETS):
        ids = [c.id for page in store.connections(bucket) for c in page]
        assert ids == sorted(ids)
        for place, after in enumerate(ids):
            rest = [c.id for page in store.connections(bucket, after=after) for c in page]
            assert rest == ids[place + 1 :]


# -- The channel map


def test_entering_puts_the_channel_into_the_map(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))

    assert store.enter_channel(_row(clock), most=9) is Write.DONE
    found = store.connection("c1")
    assert found is not None
    assert found.channels == {"orders": Membership(0, 5, clock())}
    assert found.dialect == "action"


def test_entering_keeps_the_dialect_that_is_there(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.identify("c1", "centrifuge", Identity())
    store.enter_channel(_row(clock), most=9)

    found = store.connection("c1")
    assert found is not None
    assert found.dialect == "centrifuge"


def test_entering_without_a_connection_is_refused(store: Store, clock: Clock) -> None:
    assert store.enter_channel(_row(clock), most=9) is Write.NO_CONNECTION


@pytest.mark.parametrize("order", [5, 6])
def test_entering_twice_is_refused(store: Store, clock: Clock, order: int) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=9)

    assert store.enter_channel(_row(clock, order=order), most=9) is Write.SUBSCRIBED


def test_a_full_map_takes_no_more(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=1)

    assert store.enter_channel(_row(clock, channel="b"), most=1) is Write.FULL


def test_leaving_takes_the_channel_out_and_remembers_the_order(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=9)

    assert store.leave_channel("c1", "orders", Left(7, clock())) == Membership(0, 5, clock())
    found = store.connection("c1")
    assert found is not None
    assert (found.channels, found.left) == ({}, {"orders": Left(7, clock())})
    assert store.enter_channel(_row(clock, order=6), most=9) is Write.STALE
    assert store.enter_channel(_row(clock, order=8), most=9) is Write.DONE


def test_entering_again_forgets_that_the_channel_was_left(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.leave_channel("c1", "orders", Left(7, clock()))
    store.enter_channel(_row(clock, order=8), most=9)

    found = store.connection("c1")
    assert found is not None
    assert found.left == {}


def test_a_stale_leave_touches_nothing(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=9)
    before = store.connection("c1")

    assert store.leave_channel("c1", "orders", Left(4, clock())) is None
    assert store.connection("c1") == before
    assert store.leave_channel("nobody", "orders", Left(4, clock())) is None


def test_a_server_leaves_by_the_order_that_entered(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.enter_channel(_row(clock), most=9)

    assert store.leave_channel("c1", "orders", Left(5, clock())) == Membership(0, 5, clock())
    assert store.enter_channel(_row(clock, order=6), most=9) is Write.DONE


def test_leaving_forgets_what_it_is_told_to(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    for channel in ("a", "b.c", "d#e"):
        store.leave_channel("c1", channel, Left(1, clock()))
    store.leave_channel("c1", "f", Left(2, clock()), forget=["a", "b.c", "f", "never"])

    found = store.connection("c1")
    assert found is not None
    assert set(found.left) == {"d#e", "f"}


def test_one_of_many_entries_into_the_last_place_is_done(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    rows = [_row(clock, channel=f"channel-{n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        writes = list(pool.map(lambda row: store.enter_channel(row, most=1), rows))

    assert sorted(write.value for write in writes) == ["done"] + ["full"] * 7


# -- Subscriptions


def test_a_row_is_read_as_it_was_stored(store: Store, clock: Clock) -> None:
    row = _row(clock, batch=True, user="7")

    assert store.put_subscription(row)
    assert _rows(store) == [row]


def test_one_row_is_read_by_its_key(store: Store, clock: Clock) -> None:
    row = _row(clock)
    store.put_subscription(row)

    assert store.subscription("orders", 0, "c1") == row
    assert store.subscription("orders", 0, "c2") is None
    assert store.subscription("orders", 1, "c1") is None
    clock.now += 101
    assert store.subscription("orders", 0, "c1") is None


def test_a_row_gives_way_only_to_a_higher_order(store: Store, clock: Clock) -> None:
    store.put_subscription(_row(clock, order=5))

    assert not store.put_subscription(_row(clock, order=5))
    assert not store.put_subscription(_row(clock, order=4))
    assert store.put_subscription(_row(clock, order=6))
    assert [row.order for row in _rows(store)] == [6]


def test_a_row_is_removed_unless_a_higher_order_put_it_there(store: Store, clock: Clock) -> None:
    store.put_subscription(_row(clock, order=5))
    store.remove_subscription(_row(clock, order=4))
    assert len(_rows(store)) == 1

    store.remove_subscription(_row(clock, order=5))
    store.remove_subscription(_row(clock, order=5))
    assert _rows(store) == []


def test_an_expired_row_is_not_read(store: Store, clock: Clock) -> None:
    store.put_subscription(_row(clock, "c1", expires_at=clock() + 1))
    store.put_subscription(_row(clock, "c2"))
    clock.now += 2

    assert [row.connection_id for row in _rows(store)] == ["c2"]


def test_all_rows_of_connections_are_removed_and_no_others(store: Store, clock: Clock) -> None:
    for each in ("c1", "c2"):
        store.add_connection(_connection(clock, each))
        store.identify(each, "action", WHO)
        for n in range(40):
            row = _row(clock, each, channel=f"channel-{n}")
            store.put_subscription(row)
            store.enter_channel(row, most=99)
    gone = store.remove_connection("c1")
    assert gone is not None
    store.remove_rows([gone])
    store.remove_rows([])

    assert all(
        [row.connection_id for row in _rows(store, f"channel-{n}")] == ["c2"] for n in range(40)
    )
    assert store.connections_of("7") == ["c2"]


def test_a_users_connections_are_found(store: Store, clock: Clock) -> None:
    store.add_connection(Connection("c1", clock(), clock() + 100, identity=WHO))
    store.add_connection(_connection(clock, "c2"))
    store.add_connection(_connection(clock, "c3"))
    store.identify("c2", "action", WHO)
    store.identify("c3", "action", Identity("8"))

    assert sorted(store.connections_of("7")) == ["c1", "c2"]
    assert store.connections_of("9") == []


def test_an_identity_is_renewed_by_one_of_the_same_user(store: Store, clock: Clock) -> None:
    store.add_connection(_connection(clock))
    store.identify("c1", "action", WHO)
    newer = Identity("7", info='{"name":"B"}', ends_at=clock() + 90)

    assert not store.renew("c1", Identity("8"))
    assert not store.renew("nobody", newer)
    assert store.renew("c1", newer)
    found = store.connection("c1")
    assert found is not None
    assert found.identity == newer


def test_a_row_rests_on_its_token_as_long_as_it_is_told(store: Store, clock: Clock) -> None:
    store.put_subscription(_row(clock))
    store.rest(replace(_row(clock, order=1), token_ends_at=100.5, skip_after=123.5))

    (row,) = _rows(store)
    assert row == replace(_row(clock), token_ends_at=100.5, skip_after=123.5)


def test_no_subscription_of_any_channel_is_skipped(store: Store, clock: Clock) -> None:
    with ThreadPoolExecutor(8) as pool:
        for channel in ("orders", "orders#0"):
            rows = [_row(clock, f"c{n}", channel=channel) for n in range(750)]
            assert all(pool.map(store.put_subscription, rows))

    pages = list(store.subscriptions("orders", 0))
    assert max(len(page) for page in pages) == 3
    assert {row.connection_id for page in pages for row in page} == {f"c{n}" for n in range(750)}
    assert len(_rows(store, "orders#0")) == 750


# -- Facts


def test_the_last_fact_stays(store: Store) -> None:
    assert store.fact("endpoint") is None
    store.note_fact("endpoint", "a")
    store.note_fact("endpoint", "b")

    assert store.fact("endpoint") == "b"
