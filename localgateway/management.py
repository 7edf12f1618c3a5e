"""The answers of the ``@connections`` management API, without I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import unquote

from localgateway.ids import Entropy, new_id, new_trace_id, new_uuid

_MARK = "/@connections/"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """The stage and the connection id, percent-decoded, that a management path names."""

    stage: str
    connection_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, its body and the headers that are particular to it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def target_of(path: str) -> Target | None:
    """Read ``/{stage}/@connections/{id}`` as it is on the wire; None for any other path."""
    stage, mark, connection_id = path.partition(_MARK)
    if not mark or "/" in stage.removeprefix("/") or "/" in connection_id:
        return None
    return Target(unquote(stage.removeprefix("/")), unquote(connection_id))


POSTED = Answer(200, headers={"Content-Type": _JSON})
DELETED = Answer(204)
# The empty body is AWS's: SDKs tell it from other 410s by the header alone.
GONE = Answer(410, headers={"x-amzn-ErrorType": "GoneException"})


def refused(status: int, error: str, message: str) -> Answer:
    """Spell an error with a JSON body and the header that SDKs make exceptions of."""
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return Answer(status, body, {"Content-Type": _JSON, "x-amzn-ErrorType": error})


FORBIDDEN = refused(403, "ForbiddenException", "Forbidden")


def no_handshake(status: int) -> Answer:
    """Answer a request for the WebSocket API that is no valid upgrade."""
    return Answer(status, headers={"Upgrade": "websocket"} if status == 426 else {})


def bad_id(connection_id: str) -> Answer:
    """Answer an id that API Gateway cannot have made."""
    return refused(400, "BadRequestException", f"Invalid connectionId: {connection_id}")


def too_large(limit: int) -> Answer:
    """Answer a post over the limit. The message is ours: no capture of AWS's was found."""
    return refused(413, "PayloadTooLargeException", f"Message is over {limit} bytes")


def not_text() -> Answer:
    """Answer a post that is not UTF-8.

    Divergence: what AWS does is not documented; its sockets carry text only, so a text frame
    that breaks the client would be the alternative.
    """
    return refused(400, "BadRequestException", "Message is not UTF-8 text")


_MADE_UP = {
    429: ("LimitExceededException", "Rate exceeded"),
    500: ("InternalServerErrorException", "Internal server error"),
    503: ("ServiceUnavailableException", "Service unavailable"),
}


def failed(status: int) -> Answer:
    """Answer with a status that chaos, or a full buffer, asks for."""
    if status == GONE.status:
        return GONE
    error, message = _MADE_UP.get(status, ("ServiceException", "Injected"))
    return refused(status, error, message)


def described(identity: Mapping[str, str], connected_at: float, last_active_at: float) -> Answer:
    """Answer a GET, with API Gateway's own spacing."""
    body = {
        "identity": {
            "sourceIp": identity["sourceIp"],
            "userAgent": identity.get("userAgent"),
        },
        "connectedAt": _iso(connected_at),
        "lastActiveAt": _iso(last_active_at),
    }
    text = json.dumps(body, indent=2, separators=(",", " : "))
    return Answer(200, text.encode(), {"Content-Type": _JSON})


def standing_headers(entropy: Entropy, now: float) -> dict[str, str]:
    """Make the headers that every response has."""
    return {
        "x-amzn-RequestId": new_uuid(entropy),
        "x-amz-apigw-id": new_id(entropy),
        "X-Amzn-Trace-Id": new_trace_id(entropy, now),
    }


def _iso(at: float) -> str:
    moment = datetime.fromtimestamp(at, tz=timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
