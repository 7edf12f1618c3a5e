"""For any plain WebSocket client: an object a frame, `{"action": …}` in, `{"event": …}` out."""

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.errors import ClientError
from chalicelib.model import Disconnect, Publication
from chalicelib.protocol.commands import (
    COMMANDS,
    Command,
    Dialect,
    Id,
    Join,
    Leave,
    Message,
    Pub,
    Reply,
    Request,
    Rpc,
    Subscribed,
    Unsubscribed,
    WireError,
    WirePublication,
    bad_request,
    describe,
    encode_json,
    one_line,
)


class _Frame(msgspec.Struct, frozen=True):
    """What every frame may hold; the command's own fields stand beside it."""

    action: str
    id: Id = 0


_SHAPE = 'a frame is a JSON object such as {"action":"subscribe","channel":"orders","id":1}'
_frame = msgspec.json.Decoder(_Frame)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(text: str) -> Sequence[Request | Reply]:
    command_id = 0
    try:
        if "action" not in _fields.decode(text):
            return [Reply(0, bad_request(f"no action; {_SHAPE}"))]
        head = _frame.decode(text)
        command_id = head.id
        return [Request(command_id, _command(head.action, text))]
    except UnicodeEncodeError:
        return [Reply(command_id, bad_request("the frame is not Unicode text"))]
    except RecursionError:
        return [Reply(command_id, bad_request("the frame is nested too deeply"))]
    except msgspec.ValidationError as error:
        return [Reply(command_id, bad_request(f"{describe(error, 'frame')}; {_SHAPE}"))]
    except msgspec.DecodeError as error:
        return [Reply(command_id, bad_request(f"{error}; {_SHAPE}"))]


def _command(action: str, text: str) -> Command:
    """An action that is no command is an rpc, whose data is the whole frame."""
    kind = COMMANDS.get(action)
    if kind is None:
        return Rpc(method=action, data=one_line(text.encode()))
    return msgspec.json.decode(text, type=kind)


def encode(message: Message) -> bytes:
    match message:
        case Reply():
            answer, head = message.answer, {"id": message.id}
            if isinstance(answer, ClientError):
                return _event("error", head, WireError.of(answer))
            return _event(answer.name, head, answer)
        case Pub():
            publication = WirePublication.of(message.publication)
            return _event("publication", {"channel": message.channel}, publication)
        case Unsubscribed():
            return _event(
                "unsubscribed",
                {"channel": message.channel, "code": message.code, "reason": message.reason},
            )
        case Join():
            return _event("join", {"channel": message.channel, "info": message.info})
        case Leave():
            return _event("leave", {"channel": message.channel, "info": message.info})
        case Subscribed():
            return _event("subscribed", {"channel": message.channel}, message.result)
        case Disconnect():
            return _event("disconnect", {"code": message.code, "reason": message.reason})


def gather(channel: str, publications: Sequence[Publication]) -> bytes:
    """Publications in one event, for a client that asked for that."""
    wire = [WirePublication.of(publication) for publication in publications]
    return _event("publications", {"channel": channel, "publications": wire})


def _event(name: str, head: Mapping[str, object], body: msgspec.Struct | None = None) -> bytes:
    """One flat object: the event's name, the head (without an id of 0), the body's own fields."""
    shown = {key: value for key, value in head.items() if key != "id" or value}
    front = encode_json({"event": name, **shown})
    rest = b"{}" if body is None else encode_json(body)
    return front if rest == b"{}" else front[:-1] + b"," + rest[1:]


DIALECT = Dialect(
    name="action",
    decode=decode,
    encode=encode,
    joins=False,
    needs_connect=False,
    gather=gather,
)
