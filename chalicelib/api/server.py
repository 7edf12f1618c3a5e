"""Centrifugo's server API, so that its server libraries work: one POST a method.

https://centrifugal.dev/docs/server/server_api
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import msgspec
from chalice.app import Blueprint, Request, Response

from chalicelib import bootstrap, limits, logs
from chalicelib.apikeys import Grant
from chalicelib.errors import ClientError, ConfigError, DisconnectCode, ErrorCode
from chalicelib.hub import VERSION
from chalicelib.model import Disconnect, Position
from chalicelib.notifier import Extras, Notifier
from chalicelib.ports import Version
from chalicelib.protocol.commands import WirePublication, fitting

blueprint = Blueprint(__name__)

# Bytes of publications in one page of history; Lambda answers with 6 MB at most.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
RESPONSE_BYTES = 4 * 1024 * 1024

# -- What callers send ----------------------------------------------------------------------------


class Call(msgspec.Struct, frozen=True):
    """The root of the methods: its fields are the request's, ``run`` yields the result's."""

    path: ClassVar[str]

    def touched(self) -> Sequence[str]:
        """The channels that the call is about, all of which its key must open; none: everything."""
        return ()

    def run(self, notifier: Notifier) -> object:
        raise ClientError(ErrorCode.METHOD_NOT_FOUND)


class Payload(Call, frozen=True, kw_only=True):
    """What is to be published: JSON, or bytes of JSON in base64."""

    data: msgspec.Raw = msgspec.Raw()  # empty: not given
    b64data: str | None = None
    tags: dict[str, str] | None = None
    exclude: str = ""
    skip_history: bool = False
    idempotency_key: str = ""
    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    version_epoch: str = ""

    def publish(self, notifier: Notifier, channel: str) -> dict[str, Any]:
        extras = Extras(
            tags=self.tags,
            exclude=self.exclude,
            skip_history=self.skip_history,
            idempotency_key=self.idempotency_key,
            version=Version(self.version, self.version_epoch) if self.version else None,
        )
        position = notifier.publish(channel, self._json(), extras).position
        return {"offset": position.offset, "epoch": position.epoch} if position.offset else {}

    def _json(self) -> msgspec.Raw:
        if bool(bytes(self.data)) == (self.b64data is not None):
            raise ClientError(ErrorCode.BAD_REQUEST, "one of data and b64data is required")
        if self.b64data is None:
            return self.data
        try:
            decoded = base64.b64decode(self.b64data, validate=True)
            msgspec.json.decode(decoded.decode())
        except (ValueError, RecursionError) as error:
            detail = f"b64data: expected JSON in base64; {error}"
            raise ClientError(ErrorCode.BAD_REQUEST, detail) from error
        return msgspec.Raw(decoded)


class Publish(Payload, frozen=True, kw_only=True):
    path = "publish"
    channel: str

    def touched(self) -> Sequence[str]:
        return (self.channel,)

    def run(self, notifier: Notifier) -> object:
        return self.publish(notifier, self.channel)


class Broadcast(Payload, frozen=True, kw_only=True):
    path = "broadcast"
    channels: Annotated[list[str], msgspec.Meta(min_length=1, max_length=limits.BROADCAST_CHANNELS)]

    def touched(self) -> Sequence[str]:
        return self.channels

    def run(self, notifier: Notifier) -> object:
        publish = partial(self.publish, notifier)
        responses = [_outcome(partial(publish, channel), key="result") for channel in self.channels]
        return {"responses": responses}


class OfClients(Call, frozen=True, kw_only=True):
    """A method about one client, which is the user's if that is given too, or all of a user's."""

    client: str = ""
    user: str = ""

    def clients(self, notifier: Notifier) -> Sequence[str]:
        if not self.client and not self.user:
            raise ClientError(ErrorCode.BAD_REQUEST, "one of user and client is required")
        if not self.client:
            return notifier.clients_of(self.user)
        known = not self.user or self.client in notifier.clients_of(self.user)
        return (self.client,) if known else ()


class Subscribe(OfClients, frozen=True, kw_only=True):
    path = "subscribe"
    channel: str
    recover_since: Position | None = None

    def touched(self) -> Sequence[str]:
        return (self.channel,)

    def run(self, notifier: Notifier) -> object:
        for client in self.clients(notifier):
            notifier.subscribe(client, self.channel, self.recover_since)
        return {}


class Unsubscribe(OfClients, frozen=True, kw_only=True):
    path = "unsubscribe"
    channel: str

    def touched(self) -> Sequence[str]:
        return (self.channel,)

    def run(self, notifier: Notifier) -> object:
        for client in self.clients(notifier):
            notifier.unsubscribe(client, self.channel)
        return {}


class Reason(msgspec.Struct, frozen=True):
    """What a client is told; from 3500 on (and from 4500) it does not come back by itself."""

    code: Annotated[int, msgspec.Meta(ge=3000, le=4999)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=123)]


class Close(OfClients, frozen=True, kw_only=True):
    path = "disconnect"
    disconnect: Reason | None = None
    whitelist: list[str] = []

    def run(self, notifier: Notifier) -> object:
        if self.disconnect:
            why = Disconnect(self.disconnect.code, self.disconnect.reason)
        else:
            why = Disconnect.of(DisconnectCode.FORCE_NO_RECONNECT)
        for client in self.clients(notifier):
            if client not in self.whitelist:
                notifier.disconnect(client, why)
        return {}


class OfChannel(Call, frozen=True):
    """A method about one channel."""

    channel: str

    def touched(self) -> Sequence[str]:
        return (self.channel,)


class History(OfChannel, frozen=True, kw_only=True):
    path = "history"
    limit: int = 0
    since: Position | None = None
    reverse: bool = False

    def run(self, notifier: Notifier) -> object:
        publications, top = notifier.history(
            self.channel, limit=self.limit, since=self.since, reverse=self.reverse
        )
        room = fitting(publications, RESPONSE_BYTES)
        wire = [WirePublication.of(publication) for publication in publications[:room]]
        return {"publications": wire, "offset": top.offset, "epoch": top.epoch}


class RemoveHistory(OfChannel, frozen=True):
    path = "history_remove"

    def run(self, notifier: Notifier) -> object:
        notifier.remove_history(self.channel)
        return {}


class Presence(OfChannel, frozen=True):
    path = "presence"

    def run(self, notifier: Notifier) -> object:
        return {"presence": notifier.presence(self.channel)}


class PresenceStats(OfChannel, frozen=True):
    path = "presence_stats"

    def run(self, notifier: Notifier) -> object:
        members = notifier.presence(self.channel).values()
        users = {info.user for info in members}
        return {"num_clients": len(members), "num_users": len(users)}


class ListChannels(Call, frozen=True):
    path = "channels"
    pattern: str = ""

    def run(self, notifier: Notifier) -> object:
        counts = notifier.channels(self.pattern)
        return {"channels": {name: {"num_clients": count} for name, count in counts.items()}}


class Info(Call, frozen=True):
    path = "info"

    def run(self, notifier: Notifier) -> object:
        census = notifier.census()
        node = {
            "uid": "carillon",
            "name": "carillon",
            "version": VERSION,
            "num_clients": census.clients,
            "num_users": census.users,
            "num_subs": census.subscriptions,
            "num_channels": census.channels,
        }
        return {"nodes": [node]}


CALLS: Mapping[str, type[Call]] = {
    call.path: call
    for call in (
        Publish,
        Broadcast,
        Subscribe,
        Unsubscribe,
        Close,
        History,
        RemoveHistory,
        Presence,
        PresenceStats,
        ListChannels,
        Info,
    )
}


class Batch(msgspec.Struct, frozen=True):
    """Several calls, each an object with one field: the method's name, holding its request."""

    commands: Annotated[
        list[dict[str, msgspec.Raw]], msgspec.Meta(min_length=1, max_length=limits.BATCH_COMMANDS)
    ]
    parallel: bool = False


# -- How they are answered ------------------------------------------------------------------------

_STATUS = {  # HTTP status by error code, for callers that ask for it; Centrifugo's table
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.UNKNOWN_CHANNEL: 404,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.METHOD_NOT_FOUND: 404,
    ErrorCode.ALREADY_SUBSCRIBED: 400,
    ErrorCode.LIMIT_EXCEEDED: 400,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.NOT_AVAILABLE: 501,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.UNRECOVERABLE_POSITION: 416,
    ErrorCode.CONCURRENT_PAGINATION: 409,
}


def _outcome(run: Callable[[], object], *, key: str) -> dict[str, Any]:
    """The result under ``key``, or the error; nothing that goes wrong leaves here."""
    try:
        return {key: run()}
    except ClientError as error:
        return {"error": {"code": error.reason.code, "message": error.message}}
    except Exception:  # noqa: BLE001 the caller gets an answer, whatever broke
        logs.failure("api_call_failed", call=key)
        internal = ErrorCode.INTERNAL
        return {"error": {"code": internal.code, "message": internal.message}}


def _parse(raw: bytes, kind: Any, where: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        detail = str(error).replace("`$.", f"`{where}.").replace("`$`", f"`{where}`")
        raise ClientError(ErrorCode.BAD_REQUEST, detail) from error


def _json(status: int, body: object) -> Response:
    return Response(
        msgspec.json.encode(body).decode(),
        headers={"Content-Type": "application/json"},
        status_code=status,
    )


def _failure(status: int, reason: ErrorCode, detail: str) -> Response:
    message = ClientError(reason, detail).message
    return _json(status, {"error": {"code": reason.code, "message": message}})


def _presented(request: Request) -> str:
    """The key that a request presents."""
    given: str = request.headers.get("x-api-key", "")
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if not given and scheme.lower() == "apikey" else given


def _run(raw: bytes, path: str, grant: Grant, notifier: Notifier) -> object:
    """Parse one call, see that its key opens what it touches, and make it."""
    call: Call = _parse(raw, CALLS[path], path)
    touched = call.touched()
    if not (all(map(grant.touches, touched)) if touched else grant.everything):
        raise ClientError(ErrorCode.PERMISSION_DENIED, "this API key does not open that")
    return call.run(notifier)


Answered = Callable[[bytes, Grant, Notifier], dict[str, Any]]


def _handle(answer: Answered) -> Response:
    """Check the key and the body, and answer; API errors are HTTP 200, as Centrifugo has it."""
    try:
        settings = bootstrap.settings()
    except ConfigError as error:
        logs.failure("configuration", problem=str(error))
        return _failure(500, ErrorCode.INTERNAL, "the service is not configured; see its log")
    request = blueprint.current_request
    grant = settings.api_keys.match(_presented(request))
    if grant is None:
        detail = "X-API-Key or Authorization: apikey is missing or wrong"
        return _failure(401, ErrorCode.UNAUTHORIZED, detail)
    raw = request.raw_body
    body = raw.encode() if isinstance(raw, str) else raw
    body = body or b"{}"
    try:
        body.decode()
        if not isinstance(msgspec.json.decode(body), dict):
            raise ValueError("expected an object")
    except (ValueError, RecursionError) as error:
        return _failure(400, ErrorCode.BAD_REQUEST, f"the body is not JSON: {error}")
    answered = answer(body, grant, bootstrap.notifier())
    status = 200
    if "error" in answered and request.headers.get("x-centrifugo-error-mode") == "transport":
        status = next(
            http for reason, http in _STATUS.items() if reason.code == answered["error"]["code"]
        )
    return _json(status, answered)


def _one(path: str) -> Response:
    def answer(body: bytes, grant: Grant, notifier: Notifier) -> dict[str, Any]:
        return _outcome(lambda: _run(body, path, grant, notifier), key="result")

    return _handle(answer)


def _run_named(
    command: Mapping[str, msgspec.Raw], grant: Grant, notifier: Notifier
) -> dict[str, Any]:
    """One command of a batch: the reply, under the method's own name."""
    names = list(command)
    if len(names) != 1 or names[0] not in CALLS:
        detail = f"a command is one of {', '.join(CALLS)}"
        error = ClientError(ErrorCode.METHOD_NOT_FOUND, detail)
        return {"error": {"code": error.reason.code, "message": error.message}}
    name = names[0]
    return _outcome(lambda: _run(bytes(command[name]), name, grant, notifier), key=name)


def _batch(body: bytes, grant: Grant, notifier: Notifier) -> dict[str, Any]:
    try:
        batch = _parse(body, Batch, "batch")
    except ClientError as error:
        return {"error": {"code": error.reason.code, "message": error.message}}
    run = bootstrap.parallel() if batch.parallel else _in_order
    return {"replies": run(lambda command: _run_named(command, grant, notifier), batch.commands)}


def _in_order(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    return [function(item) for item in items]


# -- Routes ---------------------------------------------------------------------------------------

# Any content type: `curl -d` without one would otherwise be answered 415.
_ANY: dict[str, Any] = {"methods": ["POST"], "content_types": ["*/*"]}


@blueprint.route("/publish", **_ANY)
def publish() -> Response:
    return _one("publish")


@blueprint.route("/broadcast", **_ANY)
def broadcast() -> Response:
    return _one("broadcast")


@blueprint.route("/batch", **_ANY)
def batch() -> Response:
    return _handle(_batch)


@blueprint.route("/subscribe", **_ANY)
def subscribe() -> Response:
    return _one("subscribe")


@blueprint.route("/unsubscribe", **_ANY)
def unsubscribe() -> Response:
    return _one("unsubscribe")


@blueprint.route("/disconnect", **_ANY)
def disconnect() -> Response:
    return _one("disconnect")


@blueprint.route("/history", **_ANY)
def history() -> Response:
    return _one("history")


@blueprint.route("/history_remove", **_ANY)
def history_remove() -> Response:
    return _one("history_remove")


@blueprint.route("/presence", **_ANY)
def presence() -> Response:
    return _one("presence")


@blueprint.route("/presence_stats", **_ANY)
def presence_stats() -> Response:
    return _one("presence_stats")


@blueprint.route("/channels", **_ANY)
def channels() -> Response:
    return _one("channels")


@blueprint.route("/info", **_ANY)
def info() -> Response:
    return _one("info")


@blueprint.route("/health", methods=["GET"])
def health() -> Response:
    """200 when the settings are whole and the table answers, else 503; needs no key."""
    try:
        bootstrap.check()
    except Exception:  # noqa: BLE001 whatever is wrong, the answer is that it is
        logs.failure("unhealthy")
        return _json(503, {"status": "unhealthy"})
    return _json(200, {"status": "ok"})
