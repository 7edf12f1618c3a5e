"""The three events, key by key as captured from API Gateway.

Everything here is a pure function of what the client sent and of the ids and times it is given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl

Event = dict[str, Any]
Headers = tuple[tuple[str, str], ...]

CONNECT, DEFAULT, DISCONNECT = "$connect", "$default", "$disconnect"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOP_BY_HOP = {"connection", "upgrade"}  # API Gateway removes these from the event
_FORWARDED = {"x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"}


@dataclass(frozen=True, slots=True)
class Api:
    """What is the same in every event of an API."""

    api_id: str
    stage: str
    domain_name: str
    stage_variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Handshake:
    """The upgrade request: headers as sent, the raw query string, the peer's address."""

    headers: Headers
    query: str
    source_ip: str

    def header(self, name: str) -> str | None:
        """Give the last value of a header, whatever the case of its name."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[-1] if values else None

    @property
    def identity(self) -> dict[str, str]:
        """What every event says of the client; no ``userAgent`` key when it sent none."""
        agent = self.header("User-Agent")
        return ({} if agent is None else {"userAgent": agent}) | {"sourceIp": self.source_ip}


@dataclass(frozen=True, slots=True)
class Life:
    """What is the same in every event of a connection; times in milliseconds since the epoch."""

    connection_id: str
    connected_at: int
    identity: Mapping[str, str]
    authorizer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """What is new in each event: its request id and its time in seconds since the epoch."""

    request_id: str
    now: float


def milliseconds(now: float) -> int:
    """Turn seconds since the epoch into the milliseconds of events."""
    return int(now * 1000)


def connect_event(
    api: Api, life: Life, moment: Moment, handshake: Handshake, trace_id: str
) -> Event:
    """Build the ``$connect`` event. It has no ``body`` and, without a query, no query keys."""
    headers = _connect_headers(handshake, trace_id)
    event: Event = {
        "headers": _last(headers),
        "multiValueHeaders": _all(headers),
    }
    query = parse_qsl(handshake.query, keep_blank_values=True)
    if query:
        event["queryStringParameters"] = _last(query)
        event["multiValueQueryStringParameters"] = _all(query)
    event["requestContext"] = _context(api, life, moment, {"routeKey": CONNECT}, "CONNECT", {})
    return _finished(api, event)


def message_event(
    api: Api, life: Life, moment: Moment, *, route: str, message_id: str, body: str
) -> Event:
    """Build the event of a message. It has no headers and no query: only the body's exact text."""
    first = {"routeKey": route, "messageId": message_id}
    context = _context(api, life, moment, first, "MESSAGE", {})
    return _finished(api, {"requestContext": context, "body": body})


def disconnect_event(api: Api, life: Life, moment: Moment, *, code: int, reason: str) -> Event:
    """Build the ``$disconnect`` event, with the four headers that every capture has."""
    headers = [
        ("Host", api.domain_name),
        ("x-api-key", ""),
        ("X-Forwarded-For", ""),
        ("x-restapi", ""),
    ]
    first = {"routeKey": DISCONNECT, "disconnectStatusCode": code}
    context = _context(api, life, moment, first, "DISCONNECT", {"disconnectReason": reason})
    event = {
        "headers": _last(headers),
        "multiValueHeaders": _all(headers),
        "requestContext": context,
    }
    return _finished(api, event)


def _finished(api: Api, event: Event) -> Event:
    if api.stage_variables:
        event["stageVariables"] = dict(api.stage_variables)
    return event | {"isBase64Encoded": False}


def _context(
    api: Api,
    life: Life,
    moment: Moment,
    first: Event,
    event_type: str,
    after_direction: Event,
) -> Event:
    context = first | {
        "eventType": event_type,
        "extendedRequestId": moment.request_id,
        "requestTime": _request_time(moment.now),
        "messageDirection": "IN",
        **after_direction,
        "stage": api.stage,
        "connectedAt": life.connected_at,
        "requestTimeEpoch": milliseconds(moment.now),
        "identity": dict(life.identity),
        "requestId": moment.request_id,
        "domainName": api.domain_name,
        "connectionId": life.connection_id,
        "apiId": api.api_id,
    }
    return context if life.authorizer is None else context | {"authorizer": dict(life.authorizer)}


def _request_time(now: float) -> str:
    """Format like ``19/Feb/2024:07:11:42 +0000``, in English whatever the locale."""
    at = datetime.fromtimestamp(now, tz=timezone.utc)
    return f"{at:%d}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000"


def _connect_headers(handshake: Handshake, trace_id: str) -> list[tuple[str, str]]:
    sent_for = handshake.header("X-Forwarded-For")
    added = [
        ("X-Amzn-Trace-Id", trace_id),
        ("X-Forwarded-For", ", ".join(filter(None, (sent_for, handshake.source_ip)))),
        # 443 and https even over plain TCP: the real API has nothing else.
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
    ]
    dropped = _HOP_BY_HOP | _FORWARDED
    kept = [pair for pair in handshake.headers if pair[0].lower() not in dropped]
    return sorted(kept + added, key=lambda pair: pair[0].lower())


def _last(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(pairs)


def _all(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
