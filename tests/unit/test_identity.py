"""Who a connection belongs to, what its token lets it do, and when that ends."""

from typing import Any

import pytest

from chalicelib import limits
from chalicelib.protocol import handshake
from tests.support.world import World, token

CHANNELS = b"""{
  "without_namespace": {"allow_user_limited_channels": true},
  "namespaces": [
    {"name": "news", "history_size": 10, "history_ttl": "60s", "force_recovery": true},
    {"name": "room", "presence": true, "join_leave": true, "force_push_join_leave": true,
     "allow_subscribe_for_client": true, "allow_presence_for_subscriber": true}
  ]
}"""


@pytest.fixture
def world() -> World:
    return World(channels=CHANNELS, allow_anonymous=False)


def _connect(world: World, name: str, **claims: Any) -> Any:
    world.open(name)
    frame = {"id": 1, "connect": {"token": token({"sub": "7", **claims})}}
    return world.say(name, frame)[0]


def _subscribe(world: World, name: str, channel: str, **fields: Any) -> Any:
    return world.say(name, {"id": 2, "subscribe": {"channel": channel, **fields}})[0]


def test_a_token_says_who_it_is(world: World) -> None:
    reply = _connect(world, "c1", info={"name": "A"}, exp=world.clock() + 60)
    found = world.store.connection("c1")

    assert (reply["connect"]["expires"], reply["connect"]["ttl"]) == (True, 60)
    assert found is not None
    assert (found.user, found.identity.info) == ("7", '{"name":"A"}')


def test_a_token_that_does_not_expire_says_nothing_of_a_ttl(world: World) -> None:
    assert "ttl" not in _connect(world, "c1")["connect"]


def test_an_invalid_token_ends_the_connection(world: World) -> None:
    world.open("c1")
    told = world.say("c1", {"id": 1, "connect": {"token": "nope"}})

    assert told == [{"push": {"disconnect": {"code": 3500, "reason": "invalid token"}}}]
    assert world.transport.closed == ["c1"]


def test_an_expired_token_is_asked_for_anew(world: World) -> None:
    assert _connect(world, "c1", exp=world.clock() - 1)["error"]["code"] == 109


def test_without_a_token_nobody_gets_in(world: World) -> None:
    world.open("c1")

    assert world.say("c1", {"id": 1, "connect": {}})[0]["error"]["code"] == 101


def test_no_line_of_the_log_holds_a_token(world: World, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = token({"sub": "7"}), token({"sub": "7"}, secret="x" * 40)
    with caplog.at_level("DEBUG"):
        world.open("c1", "c2", "c3")
        world.hub.connect("c4", world.clock(), bad)
        for name, each in (("c1", good), ("c2", bad), ("c3", "nope")):
            world.say(name, {"id": 1, "connect": {"token": each}})
        world.say("c1", {"id": 2, "subscribe": {"channel": "news:a", "token": bad}})

    assert caplog.text
    assert not any(each in caplog.text for each in (good, bad))


# -- What it may do


def test_capabilities_open_what_options_do_not(world: World) -> None:
    caps = [{"channels": ["news:*"], "match": "wildcard", "allow": ["sub", "pub"]}]
    _connect(world, "c1", caps=caps)
    _connect(world, "c2")
    publish = {"id": 3, "publish": {"channel": "news:a", "data": 1}}

    assert "subscribe" in _subscribe(world, "c1", "news:a")
    assert "publish" in world.say("c1", publish)[-1]
    assert _subscribe(world, "c2", "news:a")["error"]["code"] == 103
    assert world.say("c2", publish)[-1]["error"]["code"] == 103


def test_a_subscription_token_opens_one_channel_for_one_user(world: World) -> None:
    _connect(world, "c1")

    def ask(**claims: Any) -> Any:
        return _subscribe(world, "c1", "news:a", token=token({"sub": "7", **claims}))

    assert ask(channel="news:b")["error"]["code"] == 103
    assert ask(channel="news:a", sub="8")["error"]["code"] == 103
    assert ask()["error"]["code"] == 103
    assert ask(channel="news:a", exp=world.clock() - 1)["error"]["code"] == 109
    taken = ask(channel="news:a", exp=world.clock() + 30)["subscribe"]
    assert (taken["expires"], taken["ttl"]) == (True, 30)


def test_a_user_has_a_channel_of_its_own(world: World) -> None:
    _connect(world, "c1")

    assert "subscribe" in _subscribe(world, "c1", "#7")
    assert _subscribe(world, "c1", "#8")["error"]["code"] == 103


def test_the_token_puts_a_client_into_channels(world: World) -> None:
    reply = _connect(world, "c1", channels=["news:a", "news:b"])
    world.notifier.publish("news:a", "hello")

    assert set(reply["connect"]["subs"]) == {"news:a", "news:b"}
    assert world.heard("c1")[-1]["push"]["pub"]["data"] == "hello"


def test_server_side_channels_are_recovered_by_connect(world: World) -> None:
    first = _connect(world, "c1", channels=["news:a"])["connect"]["subs"]["news:a"]
    world.hub.disconnect("c1")
    world.notifier.publish("news:a", "missed")
    world.open("c2")
    known = {"recover": True, "offset": first.get("offset", 0), "epoch": first["epoch"]}
    claims = {"sub": "7", "channels": ["news:a"]}
    connect = {"token": token(claims), "subs": {"news:a": known}}
    again = world.say("c2", {"id": 1, "connect": connect})[0]["connect"]["subs"]["news:a"]

    assert again["recovered"]
    assert [each["data"] for each in again["publications"]] == ["missed"]


# -- When it ends


def test_a_newer_token_carries_everything_on(world: World) -> None:
    _connect(world, "c1", exp=world.clock() + 60)
    _subscribe(world, "c1", "room:a")
    world.clock.now += 50
    newer = token({"sub": "7", "exp": int(world.clock()) + 60})
    reply = world.say("c1", {"id": 3, "refresh": {"token": newer}})[-1]["refresh"]
    world.clock.now += 50
    world.notifier.publish("room:a", "still here")

    assert (reply["expires"], reply["ttl"]) == (True, 60)
    assert world.heard("c1")[-1]["push"]["pub"]["data"] == "still here"


@pytest.mark.parametrize(
    ("claims", "late", "code"),
    [({"sub": "8"}, 0, 3500), ({"sub": "7", "exp": 1}, 0, 3005), ({"sub": "7"}, 100, 3005)],
)
def test_a_refresh_that_does_not_hold_ends_the_connection(
    world: World, claims: dict[str, Any], late: int, code: int
) -> None:
    _connect(world, "c1", exp=world.clock() + 10)
    world.clock.now += late
    told = world.say("c1", {"id": 3, "refresh": {"token": token(claims)}})[-1]

    assert told["push"]["disconnect"]["code"] == code


def test_nothing_is_sent_to_who_let_its_token_end(world: World) -> None:
    _connect(world, "c1", exp=world.clock() + 60)
    _subscribe(world, "c1", "room:a")
    world.clock.now += 60 + limits.TOKEN_GRACE_SECONDS
    world.notifier.publish("room:a", "too late")

    assert world.heard("c1")[-1]["push"]["disconnect"]["code"] == 3005
    assert world.transport.closed == ["c1"]


def test_the_sweep_ends_who_let_its_token_end(world: World) -> None:
    _connect(world, "c1", exp=world.clock() + 60)
    world.clock.now += 60 + limits.TOKEN_GRACE_SECONDS
    world.app.sweep.run()

    assert world.heard("c1")[-1]["push"]["disconnect"]["code"] == 3005
    assert world.store.connection("c1") is None


def test_a_newer_subscription_token_carries_the_subscription_on(world: World) -> None:
    _connect(world, "c1")
    claims = {"sub": "7", "channel": "news:a"}
    _subscribe(world, "c1", "news:a", token=token({**claims, "exp": world.clock() + 10}))
    newer = token({**claims, "exp": int(world.clock()) + 90})
    reply = world.say("c1", {"id": 3, "sub_refresh": {"channel": "news:a", "token": newer}})[-1]
    world.clock.now += 60
    world.notifier.publish("news:a", "still here")

    assert reply["sub_refresh"] == {"expires": True, "ttl": 90}
    assert world.heard("c1")[-1]["push"]["pub"]["data"] == "still here"


def test_a_newer_connection_token_does_not_carry_a_subscription_token_on(world: World) -> None:
    _connect(world, "c1", exp=world.clock() + 60)
    short = token({"sub": "7", "channel": "news:a", "exp": world.clock() + 10})
    _subscribe(world, "c1", "news:a", token=short)
    newer = token({"sub": "7", "exp": int(world.clock()) + 600})
    world.say("c1", {"id": 3, "refresh": {"token": newer}})
    world.clock.now += 10 + limits.TOKEN_GRACE_SECONDS
    world.notifier.publish("news:a", "secret")

    assert world.heard("c1")[-1]["push"]["disconnect"]["code"] == 3005


# -- Presence by user


def test_two_tabs_of_one_user_leave_once_each(world: World) -> None:
    _connect(world, "watcher", sub="8")
    _subscribe(world, "watcher", "room:a")
    for tab in ("tab1", "tab2"):
        _connect(world, tab, info={"name": "A"})
        _subscribe(world, tab, "room:a")
    stats = world.say("watcher", {"id": 3, "presence_stats": {"channel": "room:a"}})[-1]
    for tab in ("tab1", "tab2"):
        world.transport.lose(tab)
    world.app.sweep.run()
    world.app.sweep.run()
    pushes = [f["push"] for f in world.heard("watcher") if "push" in f]
    left = [push["leave"]["info"] for push in pushes if "leave" in push]

    assert stats["presence_stats"] == {"num_clients": 3, "num_users": 2}
    assert sorted(info["client"] for info in left) == ["tab1", "tab2"]
    assert left[0]["conn_info"] == {"name": "A"}
    members = world.notifier.presence("room:a")
    assert list(members) == ["watcher"]


# -- Handshake


@pytest.mark.parametrize(
    ("headers", "expected", "answer"),
    [
        ({}, "", {}),
        ({"Sec-WebSocket-Protocol": "carillon, bearer.abc"}, "abc", True),
        ({"sec-websocket-protocol": "bearer.abc,carillon"}, "abc", True),
        ({"Sec-WebSocket-Protocol": "chat"}, "", {}),
        ({"Authorization": "Bearer abc"}, "abc", {}),
        ({"Authorization": "Basic abc"}, "", {}),
    ],
)
def test_a_token_travels_in_headers(headers: dict[str, str], expected: str, answer: object) -> None:
    shaken = handshake.read(headers)

    assert shaken.token == expected
    wanted = {"Sec-WebSocket-Protocol": "carillon"} if answer is True else answer
    assert shaken.answer == wanted


def test_a_handshakes_token_is_who_it_is(world: World) -> None:
    assert world.hub.connect("c1", world.clock(), token({"sub": "7"}))
    assert not world.hub.connect("c2", world.clock(), "nope")
    assert not world.hub.connect("c3", world.clock(), token({"sub": "7", "exp": 1}))

    assert world.say("c1", {"action": "subscribe", "channel": "#7"})[0]["event"] == "subscribe"
    assert world.store.connection("c2") is None
