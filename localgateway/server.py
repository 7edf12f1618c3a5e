"""The shell: aiohttp on one side, the sans-I/O parts on the other. All of it on one event loop."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

from aiohttp import web
from websockets.datastructures import Headers as WebSocketHeaders
from websockets.http11 import Request as WebSocketRequest

from localgateway import connection as life_of
from localgateway import management, verdicts
from localgateway.authorizers import (
    REFUSED_UNASKED,
    Authorization,
    authorizer_event,
    judge_authorizer,
    lacks_identity,
    method_arn,
)
from localgateway.chaos import Chaos
from localgateway.connection import Connection, End, Rate, new_protocol
from localgateway.events import (
    CONNECT,
    DISCONNECT,
    Api,
    Event,
    Handshake,
    Life,
    Moment,
    connect_event,
    disconnect_event,
    message_event,
    milliseconds,
)
from localgateway.ids import Entropy, is_connection_id, new_id, new_trace_id
from localgateway.lambdas import Function, Runner
from localgateway.logs import line
from localgateway.management import Answer, Target
from localgateway.routes import select_route
from localgateway.settings import Settings
from localgateway.signing import SignedRequest, fault_of
from localgateway.sockets import Socket

_LEAVE_SECONDS = 1.0  # how long transports may take to close at the end, TLS ones above all


class Gateway:
    """The API: its connections, its functions, and what it answers."""

    def __init__(
        self,
        functions: dict[str, Function],
        settings: Settings,
        *,
        clock: Callable[[], float],
        entropy: Entropy,
        chaos: Chaos,
    ) -> None:
        self.functions = functions
        self.settings = settings
        self.chaos = chaos
        self.sockets: dict[str, Socket] = {}
        self.skipped = 0.0
        self._clock = clock
        self._entropy = entropy
        self._api = Api(
            settings.api_id, settings.stage, settings.domain_name, settings.stage_variables
        )
        self._runner = Runner(
            concurrency=settings.concurrency,
            threads=settings.threads,
            function_seconds=settings.function_seconds,
            clock=clock,
            entropy=entropy,
        )
        self._connects = Rate(settings.connects_per_second, self.now())
        self._ordinal = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """Give the time in seconds since the epoch, with what was skipped."""
        return self._clock() + self.skipped

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""
        path, _, query = request.raw_path.partition("?")
        target = management.target_of(path)
        if target is not None:
            return await self._manage(request, target)
        if path.removesuffix("/") != f"/{self.settings.stage}":
            # Inferred for upgrades; captured for @connections.
            return self._respond(management.FORBIDDEN)
        return await self._upgrade(request, query)

    # Connections.

    async def _upgrade(self, request: web.BaseRequest, query: str) -> web.StreamResponse:
        protocol = new_protocol(self.settings)
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
        )
        answer = protocol.accept(
            WebSocketRequest(request.raw_path, WebSocketHeaders(headers), request.method)
        )
        if answer.status_code != 101:
            return self._respond(management.no_handshake(answer.status_code))
        now = self.now()
        if not self._connects.allows(now):
            return self._respond(Answer(429))
        handshake = Handshake(headers, query, request.remote or "")
        life = Life(new_id(self._entropy), milliseconds(now), handshake.identity)
        authorization = await self._authorize(life, handshake, now)
        if authorization.status != 101:
            return self._respond(Answer(authorization.status))
        life = replace(life, authorizer=authorization.context)
        verdict = await self._connect(life, handshake, now)
        if not verdict.accepted:
            return self._respond(Answer(verdict.status))
        response = web.StreamResponse(status=101, headers=dict(answer.headers.raw_items()))
        if verdict.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = verdict.subprotocol
        response.force_close()
        socket = self._admit(Connection(protocol, self.settings, now), life)
        await self._hand_over(request, response, socket)
        await socket.lost
        return response

    async def _authorize(self, life: Life, handshake: Handshake, now: float) -> Authorization:
        """Ask the authorizer, if there is one, before anything else is asked."""
        if self.settings.authorizer is None:
            return Authorization(101)
        moment = Moment(new_id(self._entropy), now)
        trace_id = new_trace_id(self._entropy, now)
        connect = connect_event(self._api, life, moment, handshake, trace_id)
        if lacks_identity(connect, self.settings.identity_sources):
            return REFUSED_UNASKED
        started = time.perf_counter()
        event = authorizer_event(connect, self._api, handshake)
        function = Function("authorizer", self.settings.authorizer)
        outcome = await self._invoke(function, event, moment)
        latency = round(_since(started))
        authorization = judge_authorizer(outcome, method_arn(self._api), latency_ms=latency)
        line("authorize", connection=life.connection_id, status=authorization.status, ms=latency)
        return authorization

    async def _connect(self, life: Life, handshake: Handshake, now: float) -> verdicts.Verdict:
        moment = Moment(new_id(self._entropy), now)
        function = self.functions.get(CONNECT)
        started = time.perf_counter()
        verdict = verdicts.Verdict(101)
        if function is not None:
            trace_id = new_trace_id(self._entropy, now)
            event = connect_event(self._api, life, moment, handshake, trace_id)
            verdict = verdicts.judge_handshake(await self._invoke(function, event, moment))
        line(
            "connect",
            connection=life.connection_id,
            request=moment.request_id,
            status=verdict.status,
            ms=_since(started),
        )
        return verdict

    def _admit(self, connection: Connection, life: Life) -> Socket:
        """Make the connection known: it can be posted to from here on, and not before."""
        self._ordinal += 1
        socket = Socket(self, connection, life, self._ordinal)
        if self.chaos.holds(self._ordinal):
            socket.hold()
        self.sockets[life.connection_id] = socket
        return socket

    async def _hand_over(
        self, request: web.BaseRequest, response: web.StreamResponse, socket: Socket
    ) -> None:
        """Send the 101 and put the socket in the place of aiohttp's HTTP parser.

        A client that left while ``$connect`` ran has a connection all the same, and its end.
        """
        try:
            await response.prepare(request)
        except ConnectionError:
            socket.feed_eof()
            return
        if request.transport is None:
            socket.feed_eof()
            return
        socket.attach(request.transport)
        request.protocol.set_parser(cast(Any, socket))
        request.protocol.keep_alive(val=False)

    def end(self, socket: Socket, end: End) -> None:
        """Forget a connection and tell ``$disconnect``, once."""
        if self.sockets.pop(socket.life.connection_id, None) is None:
            return
        socket.stop_watching(self.settings.close_seconds)
        line("close", connection=socket.life.connection_id, code=end.code, reason=end.reason)
        function = self.functions.get(DISCONNECT)
        if not socket.notify or function is None:
            return
        if self.chaos.loses_disconnect(socket.ordinal):
            line("chaos", connection=socket.life.connection_id, lost="$disconnect")
            return
        self._spawn(self._disconnect(function, socket.life, end))

    async def _disconnect(self, function: Function, life: Life, end: End) -> None:
        """Run ``$disconnect``; nothing depends on how it ends.

        Divergence: beyond the concurrency cap it waits for its turn instead of being lost.
        """
        moment = Moment(new_id(self._entropy), self.now())
        event = disconnect_event(self._api, life, moment, code=end.code, reason=end.reason)
        await self._runner.invoke_regardless(
            function, event, moment.request_id, within=self.settings.integration_seconds
        )

    # Messages.

    def receive(self, socket: Socket, text: str) -> None:
        """Take a message; those of one connection run concurrently, in no promised order."""
        route = select_route(self.settings.route_selection, text, self.functions)
        moment = Moment(new_id(self._entropy), self.now())
        if route is None:
            self._complain(socket, verdicts.FORBIDDEN, moment)
            return
        event = message_event(
            self._api,
            socket.life,
            moment,
            route=route,
            message_id=new_id(self._entropy),
            body=text,
        )
        self._spawn(self._message(socket, route, event, moment))

    async def _message(self, socket: Socket, route: str, event: Event, moment: Moment) -> None:
        started = time.perf_counter()
        outcome = await self._invoke(self.functions[route], event, moment)
        line(
            "message",
            connection=socket.life.connection_id,
            request=moment.request_id,
            route=route,
            bytes=len(event["body"].encode()),
            ending=outcome.ending.value,
            ms=_since(started),
        )
        complaint = verdicts.complaint(outcome, self.settings.error_frame_from_status)
        if complaint is not None:
            self._complain(socket, complaint, moment)
        elif route in self.settings.route_responses:
            body = verdicts.returned_body(outcome)
            if body is not None:
                socket.send(body.encode())

    def _complain(self, socket: Socket, message: str, moment: Moment) -> None:
        frame = verdicts.error_frame(message, socket.life.connection_id, moment.request_id)
        socket.send(frame.encode())

    async def _invoke(self, function: Function, event: Event, moment: Moment) -> verdicts.Outcome:
        return await self._runner.invoke(
            function, event, moment.request_id, within=self.settings.integration_seconds
        )

    # Management.

    async def _manage(self, request: web.BaseRequest, target: Target) -> web.Response:
        started = time.perf_counter()
        body = await _read(request, self.settings.post_bytes)
        answer = await self._answer(request, target, body)
        line(
            request.method.lower(),
            connection=target.connection_id,
            bytes=None if body is None else len(body),
            status=answer.status,
            ms=_since(started),
        )
        return self._respond(answer)

    async def _answer(self, request: web.BaseRequest, target: Target, body: bytes | None) -> Answer:
        denial = self._denial(request, body)
        if target.stage != self.settings.stage:
            return management.FORBIDDEN
        if denial is not None:
            return denial
        if not is_connection_id(target.connection_id):
            return management.bad_id(target.connection_id)
        if body is None:
            return management.too_large(self.settings.post_bytes)
        socket = self.sockets.get(target.connection_id)
        if socket is None:
            return management.GONE
        if request.method == "POST":
            return await self._post(socket, body)
        if request.method == "DELETE":
            socket.close(life_of.DELETED)
            return management.DELETED
        if request.method == "GET":
            connection = socket.connection
            return management.described(
                socket.life.identity, connection.connected_at, connection.last_active_at
            )
        return management.FORBIDDEN

    def _denial(self, request: web.BaseRequest, body: bytes | None) -> Answer | None:
        """Refuse what is not signed or, where credentials are known, not signed by them."""
        if self.settings.signed and "Authorization" not in request.headers:
            return management.FORBIDDEN
        if not self.settings.credentials or body is None:
            return None  # a body over the limit was not read to its end: it gets its 413
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = SignedRequest(request.method, path, query, headers, body)
        fault = fault_of(signed, self.settings.credentials, self.now())
        return None if fault is None else management.refused(403, fault.error, fault.message)

    async def _post(self, socket: Socket, body: bytes) -> Answer:
        socket.posts += 1
        fate = self.chaos.fate_of_post(socket.life.connection_id, socket.ordinal, socket.posts)
        if fate.delay:
            await asyncio.sleep(fate.delay)
        if fate.status is not None:
            return management.failed(fate.status)
        if socket.connection.ended is not None:
            return management.GONE
        if not _is_text(body):
            return management.not_text()
        if socket.pending + len(body) > self.settings.buffer_bytes:
            return management.failed(429)
        if fate.cut:
            socket.cut(notify=True)
        else:
            socket.send(body)
        return management.POSTED

    def _respond(self, answer: Answer) -> web.Response:
        headers = dict(answer.headers) | management.standing_headers(self._entropy, self.now())
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    # The whole.

    def skip(self, seconds: float) -> None:
        """Let time pass at once, and what is due happen."""
        self.skipped += seconds
        for socket in list(self.sockets.values()):
            socket.look()

    def restart(self) -> None:
        """Cut every socket with 1012; no ``$disconnect`` comes."""
        line("restart", connections=len(self.sockets))
        for socket in list(self.sockets.values()):
            socket.notify = False
            socket.close(life_of.RESTARTING)
            socket.leave()

    async def quiet(self) -> None:
        """Wait until no handler runs and no event is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._runner.quiet()

    async def stop(self, grace: float) -> None:
        """Close every socket with 1001, without ``$disconnect``, and let handlers finish."""
        sockets = list(self.sockets.values())
        for socket in sockets:
            socket.notify = False
            socket.close(life_of.GOING_AWAY)
            socket.leave()
        if sockets:
            await asyncio.wait([socket.lost for socket in sockets], timeout=_LEAVE_SECONDS)
        for socket in sockets:
            socket.abort()
        await self._runner.stop(grace)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _read(request: web.BaseRequest, limit: int) -> bytes | None:
    """Read the body; None if it is longer than the limit."""
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
