"""What a client says, and what it and the table get for it."""

import msgspec
import pytest

from chalicelib import limits, rpc
from chalicelib.notifier import Extras
from tests.support.world import World


def test_connect_answers_with_the_connection_id() -> None:
    world = World()
    world.open("c1")

    (reply,) = world.say("c1", {"id": 1, "connect": {}})
    assert reply["id"] == 1
    assert reply["connect"]["client"] == "c1"


def test_connect_and_its_subscribes_may_share_a_frame() -> None:
    world = World()
    world.open("c1")
    lines = [
        {"id": 3, "subscribe": {"channel": "b"}},
        {"id": 1, "connect": {}},
        {"id": 2, "subscribe": {"channel": "private:x"}},
    ]
    replies = world.say("c1", "\n".join(msgspec.json.encode(line).decode() for line in lines))

    assert [reply["id"] for reply in replies] == [3, 1, 2]
    assert "subscribe" in replies[0]
    assert replies[2]["error"]["code"] == 103
    assert len(world.transport.frames["c1"]) == 1


def test_nothing_is_heard_before_connect_where_the_dialect_needs_it() -> None:
    world = World()
    world.open("c1")

    (reply,) = world.say("c1", {"id": 1, "subscribe": {"channel": "a"}})
    assert reply["error"]["message"] == "bad request: the first command must be connect"
    assert world.rows("a") == []


def test_a_second_connect_is_refused() -> None:
    world = World()
    world.open("c1")
    replies = world.say("c1", {"id": 1, "connect": {}}, {"id": 2, "connect": {}})

    assert replies[1]["error"]["code"] == 107


def test_anonymous_connections_are_refused_where_they_are_not_allowed() -> None:
    world = World(allow_anonymous=False)
    world.open("c1", "c2")

    assert world.say("c1", {"id": 1, "connect": {}})[0]["error"]["code"] == 101
    assert world.say("c2", {"action": "ping", "id": 1})[0]["code"] == 101


def test_a_subscriber_gets_what_is_published() -> None:
    world = World()
    world.join("c1", "orders")
    world.notifier.publish("orders", {"n": 1}, Extras(tags={"kind": "new"}))

    assert world.heard("c1")[-1] == {
        "event": "publication",
        "channel": "orders",
        "data": {"n": 1},
        "tags": {"kind": "new"},
    }


def test_a_client_publishes_under_its_own_name() -> None:
    world = World()
    world.join("c1", "orders")
    world.join("c2", "orders")
    world.say("c2", {"action": "publish", "channel": "orders", "data": [1]})

    assert world.heard("c1")[-1]["info"] == {"user": "", "client": "c2"}


def test_a_subscriber_may_publish_where_the_namespace_says_so() -> None:
    world = World()
    world.open("c1")
    publish = {"action": "publish", "channel": "members:a", "data": 1}

    assert world.say("c1", publish)[0]["code"] == 103
    world.say("c1", {"action": "subscribe", "channel": "members:a"})
    assert world.say("c1", publish)[-1]["event"] == "publish"


def test_unsubscribing_ends_what_is_heard() -> None:
    world = World()
    world.join("c1", "orders")
    (reply,) = world.say("c1", {"action": "unsubscribe", "channel": "orders", "id": 2})
    world.notifier.publish("orders", 1)

    assert reply == {"event": "unsubscribe", "id": 2}
    assert world.heard("c1")[-1] == reply


def test_unsubscribing_from_what_was_not_subscribed_succeeds() -> None:
    """SDKs reconnect when an unsubscribe fails."""
    world = World()
    world.open("c1")

    assert world.say("c1", {"action": "unsubscribe", "channel": "a"}) == [{"event": "unsubscribe"}]


def test_subscribing_twice_is_105_after_a_second() -> None:
    world = World()
    world.join("c1", "orders")
    began = world.clock()
    (reply,) = world.say("c1", {"action": "subscribe", "channel": "orders", "id": 2})

    assert reply["code"] == 105
    assert world.clock() - began == pytest.approx(limits.REORDER_SECONDS)
    assert world.rows("orders") == ["c1"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"action": "subscribe", "channel": "nowhere:a"}, 102),
        ({"action": "subscribe", "channel": "private:a"}, 103),
        ({"action": "subscribe", "channel": "x" * 256}, 107),
        ({"action": "subscribe", "channel": "a\nb"}, 107),
        ({"action": "subscribe", "channel": ""}, 107),
        ({"action": "subscribe"}, 107),
        ({"action": "subscribe", "channel": 7}, 107),
        ({"action": "publish", "channel": "a"}, 107),
        ({"action": "publish", "channel": "a", "data": "x" * 65_536}, 106),
        ({"action": "unsubscribe", "channel": "nowhere:a"}, 102),
        ({"action": "noSuchMethod"}, 104),
        ("not JSON", 107),
        ("[]", 107),
        ("7", 107),
    ],
)
def test_bad_input_is_answered_and_changes_nothing(frame: object, code: int) -> None:
    world = World()
    world.join("c1", "orders")
    before = world.store.connection("c1")
    (reply,) = world.say("c1", frame)

    assert (reply["event"], reply["code"], reply["temporary"]) == ("error", code, False)
    assert world.store.connection("c1") == before
    assert world.rows("orders") == ["c1"]


def test_a_connection_enters_at_most_so_many_channels() -> None:
    world = World(max_channels=2)
    world.join("c1", "a")
    replies = world.say("c1", *({"action": "subscribe", "channel": c} for c in "bc"))

    assert replies[1]["code"] == 106
    assert "at most 2 channels a connection" in replies[1]["message"]
    assert world.rows("c") == []


def test_a_frame_of_an_unknown_connection_is_told_and_cut() -> None:
    world = World()
    (farewell,) = world.say("c1", {"id": 1, "ping": {}})

    assert farewell["push"]["disconnect"]["code"] == 3014
    assert world.transport.closed == ["c1"]


def test_disconnect_removes_the_connection_and_its_rows() -> None:
    world = World()
    world.join("c1", "orders")
    world.join("c2", "orders")
    world.hub.disconnect("c1")

    assert world.store.connection("c1") is None
    assert world.rows("orders") == ["c2"]


def test_a_ping_is_answered_and_a_pong_is_not() -> None:
    world = World()
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}})

    assert world.say("c1", {"id": 2, "ping": {}}, "{}") == [{"id": 2, "ping": {}}]


# -- Frames that overtake each other


def test_a_subscribe_waits_for_the_unsubscribe_before_it() -> None:
    world = World()
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "a"}})
    world.clock.later.append(
        lambda: world.hub.receive("c1", '{"id":3,"unsubscribe":{"channel":"a"}}', 0)
    )
    replies = world.say("c1", {"id": 4, "subscribe": {"channel": "a"}})

    assert [reply["id"] for reply in replies] == [3, 4]
    assert "subscribe" in replies[1]
    assert world.rows("a") == ["c1"]


def test_a_late_unsubscribe_does_not_undo_a_later_subscribe() -> None:
    world = World()
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}}, {"id": 4, "subscribe": {"channel": "a"}})
    (reply,) = world.say("c1", {"id": 3, "unsubscribe": {"channel": "a"}})

    assert "unsubscribe" in reply
    assert world.rows("a") == ["c1"]
    connection = world.store.connection("c1")
    assert connection is not None
    assert "a" in connection.channels


def test_a_late_subscribe_stays_undone() -> None:
    world = World()
    world.open("c1")
    world.say("c1", {"id": 1, "connect": {}}, {"id": 3, "unsubscribe": {"channel": "a"}})
    (reply,) = world.say("c1", {"id": 2, "subscribe": {"channel": "a"}})

    assert reply["error"]["temporary"] is True
    assert world.rows("a") == []


def test_plain_frames_are_ordered_by_the_gateways_clock() -> None:
    world = World()
    world.open("c1")
    world.hub.receive("c1", '{"action":"unsubscribe","channel":"a"}', 2_000)
    world.hub.receive("c1", '{"action":"subscribe","channel":"a"}', 1_000)
    assert world.rows("a") == []
    world.hub.receive("c1", '{"action":"subscribe","channel":"a"}', 3_000)

    assert world.rows("a") == ["c1"]


def test_what_was_left_is_forgotten_in_time() -> None:
    world = World()
    world.open("c1")
    for n in range(limits.LEFT_CHANNELS + 2):
        world.say("c1", {"action": "subscribe", "channel": f"page-{n}"})
        world.say("c1", {"action": "unsubscribe", "channel": f"page-{n}"})
        world.clock.now += limits.LEFT_SECONDS

    connection = world.store.connection("c1")
    assert connection is not None
    assert len(connection.left) <= limits.LEFT_CHANNELS


def test_leaving_channels_that_were_never_entered_is_not_remembered_for_ever() -> None:
    world = World()
    world.open("c1")
    for n in range(1000):
        world.say("c1", {"action": "unsubscribe", "channel": f"page-{n}"})

    connection = world.store.connection("c1")
    assert connection is not None
    assert len(connection.left) <= 4 * limits.LEFT_CHANNELS


# -- Methods


def test_a_method_is_reached_from_both_dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = rpc.Registry()
    monkeypatch.setattr(rpc.registry, "_methods", methods._methods)

    class Text(msgspec.Struct):
        text: str

    @methods.method("shout")
    def shout(call: rpc.Call) -> object:
        return {"said": call.decode(Text).text.upper()}

    @methods.method("break")
    def broken(call: rpc.Call) -> object:
        raise RuntimeError("a bug in a method")

    world = World()
    world.open("c1", "c2")
    world.say("c1", {"id": 1, "connect": {}})
    centrifuge = {"id": 2, "rpc": {"method": "shout", "data": {"text": "hi"}}}

    assert world.say("c1", centrifuge)[0]["rpc"] == {"data": {"said": "HI"}}
    assert world.say("c2", {"action": "shout", "text": "hi"})[0]["data"] == {"said": "HI"}
    assert world.say("c2", {"action": "shout", "text": 7})[0]["code"] == 107
    assert world.say("c2", {"action": "break"})[0]["code"] == 100


def test_a_send_has_no_reply_and_reaches_its_method(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = rpc.Registry()
    monkeypatch.setattr(rpc.registry, "_methods", methods._methods)
    world = World()
    world.open("c1")
    assert world.say("c1", {"action": "send", "data": 1}) == []

    heard = []
    methods.method("send")(lambda call: heard.append(bytes(call.data)))
    assert world.say("c1", {"action": "send", "data": 2}) == []
    assert heard == [b"2"]


def test_a_method_is_registered_once() -> None:
    methods = rpc.Registry()
    methods.method("a")(lambda _call: None)

    with pytest.raises(ValueError, match="'a' is registered already"):
        methods.method("a")(lambda _call: None)


def test_a_subscribe_that_overtakes_connect_waits_for_it() -> None:
    """API Gateway hands the frames of a connection to concurrent Lambdas."""
    world = World()
    world.open("c1")

    def connect() -> None:
        world.say("c1", {"id": 1, "connect": {}})

    world.clock.later.append(connect)

    answers = world.say("c1", {"id": 2, "subscribe": {"channel": "news"}})

    assert [list(answer) for answer in answers] == [["id", "connect"], ["id", "subscribe"]]


def test_a_subscribe_whose_connect_is_not_handled_in_time_may_be_tried_again() -> None:
    """An error that is not temporary would end the subscription in the SDKs."""
    world = World()
    world.open("c1")

    (answer,) = world.say("c1", {"id": 2, "subscribe": {"channel": "news"}})

    assert (answer["error"]["code"], answer["error"]["temporary"]) == (100, True)
