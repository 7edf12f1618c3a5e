"""What an application publishes, and whom it moves."""

import pytest

from chalicelib.errors import ClientError
from chalicelib.model import Disconnect, Report
from chalicelib.notifier import Extras
from tests.support.world import World


def test_every_shard_is_sent_to() -> None:
    world = World()
    ids = [f"c{n}" for n in range(50)]
    for connection_id in ids:
        world.join(connection_id, "wide:a")

    assert world.notifier.publish("wide:a", 1).report == Report(delivered=50)
    assert all(world.rows("wide:a", shard) for shard in range(4))
    assert all(world.heard(each)[-1]["event"] == "publication" for each in ids)


def test_a_gone_connection_is_forgotten_with_all_its_rows_and_nothing_else() -> None:
    world = World()
    for each in ("c1", "c2"):
        world.join(each, "a")
        world.say(each, {"action": "subscribe", "channel": "b"})
    world.transport.lose("c1")

    assert world.notifier.publish("a", 1).report == Report(delivered=1, gone=1)
    assert world.store.connection("c1") is None
    assert (world.rows("a"), world.rows("b")) == (["c2"], ["c2"])


def test_a_failing_recipient_is_cut_and_hurts_nobody() -> None:
    world = World()
    for each in ("c1", "c2", "c3"):
        world.join(each, "a")
    world.transport.fail("c2", after=1)

    assert world.notifier.publish("a", 1).report == Report(delivered=2, failed=1)
    assert world.rows("a") == ["c1", "c3"]
    left = world.store.connection("c2")
    assert left is not None
    assert left.closing


def test_a_throttled_recipient_is_tried_again() -> None:
    world = World()
    world.join("c1", "a")
    world.transport.throttle("c1", 3)

    assert world.notifier.publish("a", 1).report == Report(delivered=1)


def test_the_excluded_client_hears_nothing() -> None:
    world = World()
    world.join("c1", "a")
    world.join("c2", "a")

    assert world.notifier.publish("a", 1, Extras(exclude="c1")).report == Report(delivered=1)
    assert world.heard("c1")[-1]["event"] == "subscribe"


def test_data_that_is_too_large_names_the_limit() -> None:
    world = World(max_data_bytes=10)

    with pytest.raises(ClientError, match="data has 11 bytes, at most 10"):
        world.notifier.publish("a", "123456789")


def test_a_server_subscribe_moves_the_client_and_tells_it() -> None:
    world = World()
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}})
    world.notifier.subscribe("c1", "private:news")
    world.notifier.subscribe("c1", "private:news")
    world.notifier.publish("private:news", 1)

    pushes = [frame["push"] for frame in world.heard("c1")[1:]]
    assert [list(push) for push in pushes] == [["channel", "subscribe"], ["channel", "pub"]]


def test_a_server_unsubscribe_moves_the_client_and_tells_it() -> None:
    world = World()
    world.join("c1", "a")
    world.notifier.unsubscribe("c1", "a")
    world.notifier.unsubscribe("c1", "a")
    world.notifier.publish("a", 1)

    assert world.heard("c1")[1:] == [
        {"event": "unsubscribed", "channel": "a", "code": 2000, "reason": "server unsubscribe"}
    ]


def test_the_client_may_subscribe_again_after_a_server_unsubscribe() -> None:
    world = World()
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "a"}})
    world.notifier.unsubscribe("c1", "a")

    assert "subscribe" in world.say("c1", {"id": 3, "subscribe": {"channel": "a"}})[-1]
    assert world.rows("a") == ["c1"]


def test_a_disconnect_tells_why_then_closes_then_forgets() -> None:
    world = World()
    world.join("c1", "a")
    world.notifier.disconnect("c1", Disconnect(4999, "bye"))

    assert world.heard("c1")[-1] == {"event": "disconnect", "code": 4999, "reason": "bye"}
    assert world.transport.closed == ["c1"]
    assert world.store.connection("c1") is None
    assert world.rows("a") == []


def test_unknown_clients_are_nobodys_problem() -> None:
    world = World()
    world.notifier.subscribe("nobody", "a")
    world.notifier.unsubscribe("nobody", "a")
    world.notifier.disconnect("nobody", Disconnect(3000, "bye"))

    assert world.transport.closed == []


def test_channels_and_census_count() -> None:
    world = World()
    world.join("c1", "a")
    world.join("c2", "a")
    world.say("c2", {"action": "subscribe", "channel": "wide:b"})

    assert world.notifier.channels() == {"a": 2, "wide:b": 1}
    assert world.notifier.channels("wide:*") == {"wide:b": 1}
    census = world.notifier.census()
    assert (census.clients, census.subscriptions, census.channels) == (2, 3, 2)
