"""What the gateway makes of the outcome of an invocation: a handshake status, or a frame."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

FORBIDDEN = "Forbidden"
INTERNAL_ERROR = "Internal server error"
TIMED_OUT = "Endpoint request timed out"
TOO_MANY_REQUESTS = "Too Many Requests"


class Ending(Enum):
    """How an invocation ended, as far as the gateway knows."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed out"  # for the gateway; the handler goes on
    THROTTLED = "throttled"  # never started


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an invocation, with what the handler returned or the message it raised."""

    ending: Ending
    value: Any = None
    error: str = ""

    @property
    def status(self) -> int | None:
        """The ``statusCode`` of a proxy result; None if the result has no usable shape."""
        if self.ending is not Ending.RETURNED or not isinstance(self.value, dict):
            return None
        status = self.value.get("statusCode")
        usable = isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599
        return status if usable else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the client's upgrade request is answered."""

    status: int
    subprotocol: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the connection is made."""
        return self.status == 101


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2

_WITHOUT_STATUS = {
    Ending.RETURNED: 502,
    Ending.RAISED: 502,
    Ending.TIMED_OUT: 504,  # inferred: no capture of a $connect that times out was found
    Ending.THROTTLED: 429,
}


def judge_handshake(outcome: Outcome) -> Verdict:
    """Decide an upgrade by what ``$connect`` did.

    2xx accepts; any other status is passed on. Of the returned headers only
    ``Sec-WebSocket-Protocol`` reaches the client (AWS API Gateway developer guide, "$connect
    routes that require a WebSocket subprotocol"); the body never does.
    """
    status = outcome.status
    if status is None:
        return Verdict(_WITHOUT_STATUS[outcome.ending])
    if not 200 <= status < 300:
        return Verdict(status)
    subprotocol = _returned_header(outcome.value, "sec-websocket-protocol")
    if subprotocol is not None and not _TOKEN.fullmatch(subprotocol):
        return Verdict(502)  # ours: it cannot be put into a header
    return Verdict(101, subprotocol)


def error_frame(message: str, connection_id: str, request_id: str) -> str:
    """Spell a frame of the gateway's own exactly as AWS does, odd spaces included."""
    return (
        f'{{"message": "{message}", "connectionId":"{connection_id}", "requestId":"{request_id}"}}'
    )


def complaint(outcome: Outcome, error_from_status: int | None) -> str | None:
    """Name the message of the error frame that a client gets for this outcome, or None."""
    if outcome.ending is Ending.TIMED_OUT:
        return TIMED_OUT
    if outcome.ending is Ending.THROTTLED:
        # Inferred from the REST gateway response of THROTTLED; no capture was found.
        return TOO_MANY_REQUESTS
    status = outcome.status
    if status is None or (error_from_status is not None and status >= error_from_status):
        return INTERNAL_ERROR
    return None


def returned_body(outcome: Outcome) -> str | None:
    """Give the text that a route with a RouteResponse sends back, or None."""
    body = outcome.value.get("body") if outcome.status is not None else None
    return body if isinstance(body, str) else None


def _returned_header(result: dict[str, Any], name: str) -> str | None:
    found: str | None = None
    for key in ("headers", "multiValueHeaders"):
        for header, value in (result.get(key) or {}).items():
            values = [value] if isinstance(value, str) else value
            if header.lower() == name and values:
                found = str(values[-1])
    return found
