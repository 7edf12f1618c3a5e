"""Streams by their options: what a reader gets, and when it is told that it missed something."""

from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from chalicelib import limits
from chalicelib.errors import ClientError
from chalicelib.model import Position, Publication, Slot
from chalicelib.notifier import Extras
from chalicelib.ports import Version
from tests.support.world import World

LASTING = b"""{"namespaces": [
  {"name": "kept", "history_size": 10, "history_ttl": "1h", "allow_subscribe_for_anonymous": true}
]}"""
CHANNEL = "kept:a"  # history_size 10, history_ttl 60s


def _publish(world: World, count: int, channel: str = CHANNEL) -> Position:
    positions = [world.notifier.publish(channel, n).position for n in range(count)]
    return positions[-1] if positions else Position()


def _ask(world: World, channel: str = CHANNEL, **fields: Any) -> Any:
    """Subscribe a new client of the centrifuge dialect; the subscribe's result or error."""
    name = f"c{next(world.ids)}"
    world.open(name)
    world.say(name, {"id": 1, "connect": {}})
    answer = world.say(name, {"id": 2, "subscribe": {"channel": channel, **fields}})[0]
    return answer.get("subscribe") or answer["error"]


def _recover(world: World, since: Position, **fields: Any) -> Any:
    return _ask(world, recover=True, offset=since.offset, epoch=since.epoch, **fields)


def _offsets(result: Any) -> list[int]:
    return [publication["offset"] for publication in result.get("publications", [])]


# -- Subscribing


def test_a_fresh_subscribe_starts_at_the_top() -> None:
    world = World()
    top = _publish(world, 3)
    result = _ask(world)

    assert (result["offset"], result["epoch"], result["recoverable"]) == (3, top.epoch, True)
    assert "publications" not in result
    assert "was_recovering" not in result


def test_subscribing_to_silence_begins_the_stream() -> None:
    world = World()
    result = _ask(world)

    assert result["epoch"]
    assert result.get("offset", 0) == 0
    assert world.notifier.publish(CHANNEL, 1).position == Position(1, result["epoch"])


def test_a_fresh_subscribe_gets_what_is_still_being_written() -> None:
    world = World()
    _publish(world, 2)
    options = world.settings.channels.options(CHANNEL)
    head = world.streams.allocate(CHANNEL, "x", keep=999)
    assert head is not None
    result = _ask(world)
    publication = Publication(msgspec.Raw(b'"late"'), offset=3)
    slot = Slot(3, head.epoch, publication, world.clock() + options.history_seconds)
    world.streams.write(CHANNEL, slot)
    world.app.fanout.drain(CHANNEL, 0)

    assert result["offset"] == 2
    (client,) = world.rows(CHANNEL)
    assert world.heard(client)[-1]["push"]["pub"]["data"] == "late"


def test_a_fresh_subscribe_does_not_wait_for_the_dead() -> None:
    world = World()
    _publish(world, 2)
    world.streams.allocate(CHANNEL, "x", keep=999)
    world.clock.now += limits.WRITER_SECONDS + 1

    assert _ask(world)["offset"] == 3


# -- Recovery


@pytest.mark.parametrize("missed", [0, 1, 9, 10])
def test_what_was_missed_comes_in_order(missed: int) -> None:
    world = World()
    since = _publish(world, 2)
    _publish(world, missed)
    result = _recover(world, since)

    assert (result["recovered"], result["was_recovering"]) == (True, True)
    assert _offsets(result) == list(range(3, 3 + missed))
    assert result["offset"] == 2 + missed


@pytest.mark.parametrize(
    ("offset", "epoch", "why"),
    [
        (2, "another", "another life of the stream"),
        (99, "", "a position that never was"),
        (1, "", "trimmed by history_size"),
    ],
)
def test_a_position_that_cannot_be_recovered_says_so(offset: int, epoch: str, why: str) -> None:
    world = World()
    top = _publish(world, 12)
    result = _recover(world, Position(offset, epoch or top.epoch))

    assert result.get("recovered", False) is False, why
    assert result["was_recovering"] is True
    assert (_offsets(result), result["offset"], result["epoch"]) == ([], 12, top.epoch)


def test_an_expired_publication_is_a_gap() -> None:
    world = World()
    since = _publish(world, 1)
    _publish(world, 1)
    world.clock.now += 61
    _publish(world, 1)

    assert not _recover(world, since).get("recovered", False)
    assert _recover(world, Position(2, since.epoch))["recovered"]


def test_a_deleted_publication_is_a_gap_as_well() -> None:
    """DynamoDB deletes what has expired: then nothing stands where something stood."""
    world = World()
    since = _publish(world, 1)
    _publish(world, 1)
    world.clock.now += 61
    world.delete_expired()
    _publish(world, 1)

    assert not _recover(world, since).get("recovered", False)


def test_everything_deleted_is_a_gap() -> None:
    world = World()
    since = _publish(world, 1)
    top = _publish(world, 2)
    world.clock.now += 61
    world.delete_expired()

    assert not _recover(world, since).get("recovered", False)
    assert _recover(world, top)["recovered"]


def test_a_dead_writers_hole_is_no_gap() -> None:
    world = World()
    since = _publish(world, 2)
    world.streams.allocate(CHANNEL, "x", keep=999)
    _publish(world, 1)
    result = _recover(world, since)

    assert (result["recovered"], _offsets(result), result["offset"]) == (True, [4], 4)


def test_a_dead_writers_hole_after_a_long_silence_is_no_gap() -> None:
    world = World()
    since = _publish(world, 2)
    world.clock.now += 500
    world.delete_expired()
    world.streams.allocate(CHANNEL, "x", keep=999)
    _publish(world, 1)

    assert _offsets(_recover(world, since)) == [4]


def test_a_hole_that_may_be_an_expired_publication_is_a_gap_for_everybody() -> None:
    """Two writers died at once after a long silence: nobody can tell, so nobody relies on it."""
    world = World()
    since = _publish(world, 2)
    world.join("c1", CHANNEL)
    world.clock.now += 500
    world.delete_expired()
    for _ in range(2):
        world.streams.allocate(CHANNEL, "x", keep=999)
    _publish(world, 1)

    assert world.heard("c1")[-1]["code"] == 3010
    assert not _recover(world, since).get("recovered", False)
    assert _ask(world)["offset"] == 5
    late = Slot(3, since.epoch, Publication(msgspec.Raw(b"1")), world.clock() + 60)
    assert not world.streams.write(CHANNEL, late)


def test_writers_that_may_still_be_at_it_are_waited_for() -> None:
    world = World()
    since = _publish(world, 2)
    world.join("c1", CHANNEL)
    world.clock.now += 500
    world.delete_expired()
    for _ in range(3):
        world.streams.allocate(CHANNEL, "x", keep=999)
    world.app.fanout.drain(CHANNEL, 0)
    options = world.settings.channels.options(CHANNEL)
    for offset in (3, 4, 5):
        publication = Publication(msgspec.Raw(b"1"), offset=offset)
        expires_at = world.clock() + options.history_seconds
        world.streams.write(CHANNEL, Slot(offset, since.epoch, publication, expires_at))
    world.app.fanout.drain(CHANNEL, 0)

    assert [frame["offset"] for frame in world.heard("c1")[1:]] == [3, 4, 5]


def test_a_late_writer_whose_offset_was_buried_publishes_at_another() -> None:
    world = World()
    _publish(world, 1)
    head = world.streams.allocate(CHANNEL, "x", keep=999)
    assert head is not None
    _publish(world, 1)
    slot = Slot(2, head.epoch, Publication(msgspec.Raw(b"1")), world.clock() + 60)

    assert not world.streams.write(CHANNEL, slot)


def test_removed_history_is_a_gap_and_the_position_goes_on() -> None:
    world = World()
    since = _publish(world, 2)
    top = _publish(world, 1)
    world.notifier.remove_history(CHANNEL)

    assert not _recover(world, since).get("recovered", False)
    assert _recover(world, top)["recovered"]
    assert _publish(world, 1) == Position(4, top.epoch)


def test_recover_without_a_position_means_from_the_beginning_of_any_life() -> None:
    world = World()
    _publish(world, 3)
    result = _ask(world, recover=True)

    assert (result["recovered"], _offsets(result)) == (True, [1, 2, 3])


def test_flag_2_asks_for_an_error_and_leaves_no_subscription() -> None:
    world = World()
    _publish(world, 1)
    result = _recover(world, Position(1, "another"), flag=2)

    assert result["code"] == 112
    assert world.rows(CHANNEL) == []


def test_more_than_the_limit_is_not_recovered() -> None:
    world = World()
    since = _publish(world, 1, "long:a")
    _publish(world, limits.RECOVERY_PUBLICATIONS, "long:a")
    fields = {"recover": True, "epoch": since.epoch}
    within = _ask(world, "long:a", offset=1, **fields)
    beyond = _ask(world, "long:a", offset=0, **fields)

    assert (within["recovered"], len(_offsets(within))) == (True, 300)
    assert not beyond.get("recovered", False)


def test_what_does_not_fit_into_the_reply_follows_before_anything_new() -> None:
    world = World()
    world.notifier.publish("long:a", "first")
    for _ in range(6):
        world.notifier.publish("long:a", "x" * 40_000)
    result = _ask(world, "long:a", recover=True, offset=1)
    world.notifier.publish("long:a", "last")
    (client,) = world.rows("long:a", 0) + world.rows("long:a", 1)
    pushed = [f["push"]["pub"]["offset"] for f in world.heard(client) if "push" in f]

    assert result["offset"] == _offsets(result)[-1] == 3
    assert pushed == [4, 5, 6, 7, 8]
    assert all(len(f) <= limits.MESSAGE_BYTES for f in world.transport.frames[client])


def test_cache_mode_recovers_the_newest_publication_only() -> None:
    world = World()
    empty = _ask(world, "state:a", recover=True)
    _publish(world, 5, "state:a")
    result = _ask(world, "state:a", recover=True)

    assert not empty.get("recovered", False)
    assert (result["recovered"], _offsets(result), result["offset"]) == (True, [5], 5)


# -- Live


def test_an_excluded_client_gets_it_by_recovery_only() -> None:
    world = World()
    world.join("c1", CHANNEL)
    world.join("c2", CHANNEL)
    world.notifier.publish(CHANNEL, 1, Extras(exclude="c1"))
    world.notifier.publish(CHANNEL, 2)

    assert [f["data"] for f in world.heard("c1")[1:]] == [2]
    assert [f["data"] for f in world.heard("c2")[1:]] == [1, 2]
    assert _offsets(_ask(world, recover=True)) == [1, 2]


def test_skipped_history_is_sent_and_not_kept() -> None:
    world = World()
    world.join("c1", CHANNEL)
    published = world.notifier.publish(CHANNEL, 1, Extras(skip_history=True))

    assert published.position == Position()
    assert "offset" not in world.heard("c1")[-1]
    assert _offsets(_ask(world, recover=True)) == []


def test_a_backlog_travels_in_one_frame_where_the_dialect_joins() -> None:
    world = World()
    world.open("c1", "c2")
    world.say("c1", {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": CHANNEL}})
    world.say("c2", {"action": "subscribe", "channel": CHANNEL, "batch": True})
    world.join("c3", CHANNEL)
    options = world.settings.channels.options(CHANNEL)
    for n in range(5):
        world.append(CHANNEL, options, msgspec.Raw(b"%d" % n))
    before = {c: len(world.transport.frames[c]) for c in ("c1", "c2", "c3")}
    world.app.fanout.drain(CHANNEL, 0)
    posts = {c: len(world.transport.frames[c]) - before[c] for c in before}

    assert posts == {"c1": 1, "c2": 1, "c3": 5}
    assert [f["push"]["pub"]["offset"] for f in world.heard("c1")[-5:]] == [1, 2, 3, 4, 5]
    gathered = world.heard("c2")[-1]
    assert gathered["event"] == "publications"
    assert [p["offset"] for p in gathered["publications"]] == [1, 2, 3, 4, 5]


def test_a_subscriber_of_another_life_is_asked_to_come_back() -> None:
    world = World()
    world.join("c1", CHANNEL)
    (page,) = world.store.subscriptions(CHANNEL, 0)
    older = replace(page[0], order=page[0].order + 1, epoch="an older life")
    world.store.put_subscription(older)
    _publish(world, 1)

    assert world.heard("c1")[-1] == {
        "event": "disconnect",
        "code": 3010,
        "reason": "insufficient state",
    }


def test_a_version_that_is_not_new_is_dropped() -> None:
    world = World()
    first = world.notifier.publish(CHANNEL, 1, Extras(version=Version(7)))
    again = world.notifier.publish(CHANNEL, 2, Extras(version=Version(7)))

    assert again.position == first.position
    assert _offsets(_ask(world, recover=True)) == [1]


# -- Idempotency


def test_a_key_publishes_once() -> None:
    world = World()
    extras = Extras(idempotency_key="k")
    first = world.notifier.publish(CHANNEL, 1, extras)

    assert world.notifier.publish(CHANNEL, 1, extras).position == first.position
    assert _publish(world, 1).offset == 2
    with pytest.raises(ClientError, match="113 .* other data"):
        world.notifier.publish(CHANNEL, 2, extras)


def test_a_claim_whose_publisher_died_after_publishing_finds_its_publication() -> None:
    world = World(channels=LASTING)
    published = world.notifier.publish(CHANNEL, 1, Extras(idempotency_key="k"))
    world.clock.now += limits.IDEMPOTENCY_SECONDS + 1
    world.streams.claim(CHANNEL, "k", blake2b(b"1").hexdigest())
    world.clock.now += limits.IDEMPOTENCY_CLAIM_SECONDS + 1

    again = world.notifier.publish(CHANNEL, 1, Extras(idempotency_key="k"))
    assert again.position == published.position


def test_a_busy_key_is_a_temporary_error() -> None:
    world = World()
    world.streams.claim(CHANNEL, "k", blake2b(b"1").hexdigest())
    with pytest.raises(ClientError) as raised:
        world.notifier.publish(CHANNEL, 1, Extras(idempotency_key="k"))

    assert (raised.value.reason.code, raised.value.reason.temporary) == (100, True)


def test_a_long_key_names_the_limit() -> None:
    with pytest.raises(ClientError, match="idempotency_key has 257 bytes, at most 256"):
        World().notifier.publish(CHANNEL, 1, Extras(idempotency_key="k" * 257))


# -- Presence


def test_members_and_their_coming_and_going() -> None:
    world = World()
    world.join("c1", "room:a")
    world.join("c2", "room:a")
    world.say("c2", {"action": "unsubscribe", "channel": "room:a"})
    world.join("c3", "room:a")
    world.transport.lose("c3")
    world.app.sweep.run()
    told = [(f["event"], f["info"]["client"]) for f in world.heard("c1")[1:]]

    assert told == [
        *[("join", "c1"), ("join", "c2"), ("leave", "c2"), ("join", "c3"), ("leave", "c3")]
    ]
    members = world.say("c1", {"action": "presence", "channel": "room:a"})[0]
    assert members["presence"] == {"c1": {"user": "", "client": "c1"}}
    stats = world.say("c1", {"action": "presence_stats", "channel": "room:a"})[0]
    assert (stats["num_clients"], stats["num_users"]) == (1, 1)


def test_presence_is_for_those_who_may_ask() -> None:
    world = World()
    world.open("c1")

    assert world.say("c1", {"action": "presence", "channel": "room:a"})[0]["code"] == 103
    assert world.say("c1", {"action": "history", "channel": "kept:a"})[0]["event"] == "history"
    assert world.say("c1", {"action": "history", "channel": "long:a"})[0]["code"] == 103
