"""Centrifugo's bidirectional JSON protocol: newline-separated objects, both ways.

https://centrifugal.dev/docs/transports/client_protocol
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from chalicelib import limits
from chalicelib.model import Disconnect
from chalicelib.protocol.commands import (
    COMMANDS,
    Command,
    Dialect,
    Id,
    Join,
    Leave,
    Message,
    Pub,
    Push,
    Reply,
    Request,
    Result,
    Send,
    Subscribed,
    Unsubscribed,
    WireError,
    WirePublication,
    bad_request,
    describe,
    encode_json,
)

_M = TypeVar("_M")


class _Line(msgspec.Struct, frozen=True):
    """One command object: its id, and the one field that names the command."""

    id: Id = 0


_line = msgspec.json.Decoder(_Line)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def recognises(text: str) -> bool:
    """Whether a first frame is of this dialect: its first line is `{}` or names a command."""
    try:
        fields = _fields.decode(text.split("\n", 1)[0])
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return False
    return "action" not in fields and (not fields or not COMMANDS.keys().isdisjoint(fields))


def decode(text: str) -> Sequence[Request | Reply]:
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > limits.FRAME_COMMANDS:
        detail = f"{len(lines)} commands in a frame, at most {limits.FRAME_COMMANDS}"
        return [Reply(0, bad_request(detail))]
    if not lines:
        return [Reply(0, bad_request("the frame is empty"))]
    return list(_decode(lines))


def _decode(lines: list[str]) -> Iterator[Request | Reply]:
    for line in lines:
        command_id = 0
        try:
            fields = _fields.decode(line)
            if not fields:  # `{}`: the answer to a ping
                continue
            command_id = _line.decode(line).id
            yield Request(command_id, _command(command_id, fields))
        except msgspec.MsgspecError as error:
            yield Reply(command_id, bad_request(describe(error, "command")))
        except UnicodeEncodeError:
            yield Reply(command_id, bad_request("the frame is not Unicode text"))
        except RecursionError:
            yield Reply(command_id, bad_request("the frame is nested too deeply"))
        except _UnknownCommandError as error:
            yield Reply(command_id, bad_request(str(error)))


class _UnknownCommandError(Exception):
    pass


def _command(command_id: int, fields: dict[str, msgspec.Raw]) -> Command:
    named = [name for name in fields if name in COMMANDS]
    if len(named) != 1:
        others = ", ".join(sorted(fields.keys() - {"id"})) or "nothing"
        raise _UnknownCommandError(
            f"a command holds an id and one of {', '.join(COMMANDS)}; this one has {others}"
        )
    kind = COMMANDS[named[0]]
    if not command_id and kind is not Send:
        raise _UnknownCommandError(f"{kind.name} needs an id greater than 0")
    try:
        return msgspec.json.decode(fields[kind.name], type=kind)
    except msgspec.MsgspecError as error:
        raise _UnknownCommandError(describe(error, kind.name)) from error


def encode(message: Message) -> bytes:
    if isinstance(message, Reply):
        return encode_json(_reply(message))
    return encode_json({"push": _push(message)})


def _reply(reply: Reply) -> dict[str, Any]:
    head: dict[str, Any] = {"id": reply.id} if reply.id else {}
    if isinstance(reply.answer, Result):
        return {**head, reply.answer.name: reply.answer}
    return {**head, "error": WireError.of(reply.answer)}


def _push(push: Push) -> dict[str, Any]:
    match push:
        case Pub():
            return {"channel": push.channel, "pub": WirePublication.of(push.publication)}
        case Unsubscribed():
            ended = {"code": push.code, "reason": push.reason}
            return {"channel": push.channel, "unsubscribe": ended}
        case Join():
            return {"channel": push.channel, "join": {"info": push.info}}
        case Leave():
            return {"channel": push.channel, "leave": {"info": push.info}}
        case Subscribed():
            return {"channel": push.channel, "subscribe": push.result}
        case Disconnect():
            return {"disconnect": {"code": push.code, "reason": push.reason}}


DIALECT = Dialect(name="centrifuge", decode=decode, encode=encode, joins=True, needs_connect=True)
