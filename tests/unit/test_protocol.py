"""Both dialects, as pure functions: text to commands, messages to text."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import limits
from chalicelib.errors import ClientError, ErrorCode
from chalicelib.model import ClientInfo, Disconnect, Publication
from chalicelib.protocol import DIALECTS, choose, commands
from chalicelib.protocol.commands import Dialect, Pub, Reply, Request

CENTRIFUGE, ACTION = DIALECTS["centrifuge"], DIALECTS["action"]
PUB = Pub(
    "orders",
    Publication(msgspec.Raw(b'{"n":1}'), info=ClientInfo("7", "abc"), tags={"kind": "new"}),
)


def _one(dialect: Dialect, text: str) -> Request | Reply:
    (said,) = dialect.decode(text)
    return said


def _shown(dialect: Dialect, message: commands.Message) -> Any:
    return msgspec.json.decode(dialect.encode(message))


@pytest.mark.parametrize(
    ("first_frame", "dialect"),
    [
        ('{"id":1,"connect":{}}', CENTRIFUGE),
        ('{"connect":{},"id":1}\n{"subscribe":{"channel":"a"},"id":2}', CENTRIFUGE),
        ("{}", CENTRIFUGE),
        ('{"action":"subscribe","channel":"a"}', ACTION),
        ('{"action":"connect","connect":{}}', ACTION),
        ("hello", ACTION),
        ("[1]", ACTION),
        ('{"x":1}', ACTION),
        ("", ACTION),
        ("\ud800", ACTION),
    ],
)
def test_the_first_frame_chooses_the_dialect(first_frame: str, dialect: Dialect) -> None:
    assert choose("", first_frame) is dialect


def test_a_remembered_dialect_beats_the_frame() -> None:
    assert choose("centrifuge", '{"action":"ping"}') is CENTRIFUGE


@pytest.mark.parametrize(
    ("centrifuge", "action", "command"),
    [
        ('{"id":7,"connect":{}}', '{"action":"connect","id":7}', commands.Connect()),
        (
            '{"id":7,"subscribe":{"channel":"orders","unknown":1}}',
            '{"action":"subscribe","channel":"orders","id":7,"unknown":1}',
            commands.Subscribe("orders"),
        ),
        (
            '{"id":7,"unsubscribe":{"channel":"orders"}}',
            '{"action":"unsubscribe","channel":"orders","id":7}',
            commands.Unsubscribe("orders"),
        ),
        ('{"id":7,"ping":{}}', '{"action":"ping","id":7}', commands.Ping()),
    ],
)
def test_both_dialects_spell_the_same_command(
    centrifuge: str, action: str, command: commands.Command
) -> None:
    assert _one(CENTRIFUGE, centrifuge) == Request(7, command)
    assert _one(ACTION, action) == Request(7, command)


def test_a_payload_passes_through_unparsed() -> None:
    said = _one(CENTRIFUGE, '{"id":1,"publish":{"channel":"a","data":{"b": 1.0e2}}}')

    assert isinstance(said, Request)
    assert isinstance(said.command, commands.Publish)
    assert bytes(said.command.data) == b'{"b": 1.0e2}'


def test_an_action_that_is_no_command_is_an_rpc_with_the_whole_frame() -> None:
    said = _one(ACTION, '{"action":"sendMessage","id":3,\n "text":"hi"}')

    assert isinstance(said, Request)
    assert isinstance(said.command, commands.Rpc)
    assert said.command.method == "sendMessage"
    assert bytes(said.command.data) == b'{"action":"sendMessage","id":3,  "text":"hi"}'


@pytest.mark.parametrize(
    ("dialect", "text", "command_id", "problem"),
    [
        (CENTRIFUGE, "nope", 0, "malformed"),
        (CENTRIFUGE, "[1]", 0, "Expected `object`, got `array`"),
        (CENTRIFUGE, "", 0, "the frame is empty"),
        (CENTRIFUGE, '{"id":3,"zap":{}}', 3, "one of connect, subscribe"),
        (CENTRIFUGE, '{"id":3}', 3, "this one has nothing"),
        (CENTRIFUGE, '{"id":3,"ping":{},"connect":{}}', 3, "this one has connect, ping"),
        (CENTRIFUGE, '{"ping":{}}', 0, "ping needs an id greater than 0"),
        (CENTRIFUGE, '{"id":-1,"ping":{}}', 0, "`int` >= 0 - at `command.id`"),
        (CENTRIFUGE, '{"id":"x","ping":{}}', 0, "Expected `int`, got `str` - at `command.id`"),
        (CENTRIFUGE, '{"id":3,"subscribe":{}}', 3, "subscribe: Object missing required field"),
        (CENTRIFUGE, '{"id":3,"subscribe":{"channel":5}}', 3, "at `subscribe.channel`"),
        (CENTRIFUGE, '{"id":3,"subscribe":5}', 3, "subscribe: Expected `object`, got `int`"),
        (CENTRIFUGE, "\ud800", 0, "not Unicode"),
        (ACTION, "nope", 0, "malformed"),
        (ACTION, "[1]", 0, "Expected `object`, got `array`"),
        (ACTION, '{"x":1}', 0, "no action"),
        (ACTION, '{"action":5}', 0, "Expected `str`, got `int` - at `frame.action`"),
        (ACTION, '{"action":"subscribe","id":4}', 4, "missing required field `channel`"),
        (ACTION, '{"action":"subscribe","channel":[],"id":4}', 4, "at `frame.channel`"),
        (ACTION, "\ud800", 0, "not Unicode"),
    ],
)
def test_bad_input_is_answered_with_what_was_expected(
    dialect: Dialect, text: str, command_id: int, problem: str
) -> None:
    said = _one(dialect, text)

    assert isinstance(said, Reply)
    assert isinstance(said.answer, ClientError)
    assert (said.id, said.answer.reason) == (command_id, ErrorCode.BAD_REQUEST)
    assert problem in said.answer.message


def test_a_bad_line_does_not_cost_the_others_of_its_frame() -> None:
    said = CENTRIFUGE.decode('{"id":1,"ping":{}}\nnope\n{}\n{"id":2,"ping":{}}')

    assert [type(each) for each in said] == [Request, Reply, Request]


def test_too_many_commands_in_a_frame_are_refused_whole() -> None:
    line = '{"id":1,"ping":{}}\n'
    said = _one(CENTRIFUGE, line * (limits.FRAME_COMMANDS + 1))

    assert isinstance(said, Reply)
    assert "1001 commands in a frame, at most 1000" in str(said.answer)


@given(st.text())
def test_no_text_makes_a_decoder_raise(text: str) -> None:
    for dialect in (choose("", text), CENTRIFUGE, ACTION):
        for said in dialect.decode(text):
            assert isinstance(said, Request | Reply)


@pytest.mark.parametrize(
    ("message", "centrifuge", "action"),
    [
        (
            Reply(1, commands.ConnectResult("abc", "0.1.0")),
            {"id": 1, "connect": {"client": "abc", "version": "0.1.0"}},
            {"event": "connect", "id": 1, "client": "abc", "version": "0.1.0"},
        ),
        (
            Reply(2, commands.SubscribeResult()),
            {"id": 2, "subscribe": {}},
            {"event": "subscribe", "id": 2},
        ),
        (
            Reply(3, commands.RpcResult(msgspec.Raw(b'{"ok":true}'))),
            {"id": 3, "rpc": {"data": {"ok": True}}},
            {"event": "rpc", "id": 3, "data": {"ok": True}},
        ),
        (
            Reply(4, ClientError(ErrorCode.PERMISSION_DENIED)),
            {"id": 4, "error": {"code": 103, "message": "permission denied", "temporary": False}},
            {
                "event": "error",
                "id": 4,
                "code": 103,
                "message": "permission denied",
                "temporary": False,
            },
        ),
        (
            PUB,
            {
                "push": {
                    "channel": "orders",
                    "pub": {
                        "data": {"n": 1},
                        "info": {"user": "7", "client": "abc"},
                        "tags": {"kind": "new"},
                    },
                }
            },
            {
                "event": "publication",
                "channel": "orders",
                "data": {"n": 1},
                "info": {"user": "7", "client": "abc"},
                "tags": {"kind": "new"},
            },
        ),
        (
            commands.Unsubscribed("orders", 2000, "server unsubscribe"),
            {
                "push": {
                    "channel": "orders",
                    "unsubscribe": {"code": 2000, "reason": "server unsubscribe"},
                }
            },
            {
                "event": "unsubscribed",
                "channel": "orders",
                "code": 2000,
                "reason": "server unsubscribe",
            },
        ),
        (
            commands.Subscribed("orders", commands.SubscribeResult()),
            {"push": {"channel": "orders", "subscribe": {}}},
            {"event": "subscribed", "channel": "orders"},
        ),
        (
            Disconnect(3503, "force disconnect"),
            {"push": {"disconnect": {"code": 3503, "reason": "force disconnect"}}},
            {"event": "disconnect", "code": 3503, "reason": "force disconnect"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_is_spelled_in_both_dialects(
    message: commands.Message, centrifuge: Any, action: Any
) -> None:
    assert _shown(CENTRIFUGE, message) == centrifuge
    assert _shown(ACTION, message) == action


def test_messages_share_a_frame_where_the_dialect_joins_them() -> None:
    replies = [Reply(n, commands.PingResult()) for n in (1, 2)]

    assert CENTRIFUGE.frames(replies) == (b'{"id":1,"ping":{}}\n{"id":2,"ping":{}}',)
    assert len(ACTION.frames(replies)) == 2


def test_a_frame_never_exceeds_what_a_message_may_hold() -> None:
    big = Pub("a", Publication(msgspec.Raw(b'"' + b"x" * 50_000 + b'"')))
    frames = CENTRIFUGE.frames([big] * 5)

    assert [frame.count(b"\n") + 1 for frame in frames] == [2, 2, 1]
    assert all(len(frame) <= limits.MESSAGE_BYTES for frame in frames)
