"""API Gateway's management API: many recipients at once from one thread.

A ``selectors`` loop over non-blocking keep-alive sockets, standard library only; docs/decisions
says what it was measured against. A connection carries one request at a time (no pipelining).

**At least once.** A request whose connection died without an answer is sent again, although the
gateway may have processed it: on a connection that has served before, most likely closed while
idle, at once; otherwise after a pause. The same holds after 5xx and after an answer that does not
come. A frame that arrives twice carries the same offsets, which clients drop; losing it would be a
gap. So nothing may be sent through here that is harmful when it comes twice.

**Freezing.** Idle connections outlive the call, for the next invocation of a frozen and thawed
Lambda. A call first looks which of them the server has closed meanwhile, and trusts none after
``Limits.idle`` seconds by the wall clock: while frozen, no goodbye may have reached us.

HTTP_PROXY and its kin are not looked at.
"""

import heapq
import itertools
import logging
import selectors
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from chalicelib.model import Delivery, Post
from chalicelib.transport.http1 import Answer, MalformedAnswerError, parse
from chalicelib.transport.pace import Pace
from chalicelib.transport.sigv4 import Credentials, Signer, Target
from chalicelib.transport.wire import (
    READ,
    RECEIVE,
    WOULD_BLOCK,
    WRITE,
    Address,
    Wire,
    resolve,
    trusting,
)

logger = logging.getLogger(__name__)

Outcome = tuple[str, Delivery]

_TICK = 0.05  # seconds between two looks for connections that have been silent for too long
_FIRST = 4  # connections before any waiting
_HANDSHAKE = 0.001  # seconds of waiting that pay for one connection more
_GRANT = 64  # requests taken from the bucket at a time
_ENGINES = 4  # kept idle, with their connections
_BACKOFF = 0.05  # seconds; doubled with each try
_BACKOFF_CAP = 3.0  # seconds
_NOTHING = (None,)  # the frames of a recipient that is only asked for


Events = list[tuple[selectors.SelectorKey, int]]


def wait(selector: selectors.BaseSelector, timeout: float) -> Events:
    """Wait for sockets as they come in the real world."""
    return selector.select(timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the sender asks of the world: the time twice, luck, and to wait."""

    now: Callable[[], float]  # wall clock, seconds since 1970: signatures, and idling while frozen
    monotonic: Callable[[], float]  # seconds: deadlines
    random: Callable[[], float]  # [0, 1): jitter
    wait: Callable[[selectors.BaseSelector, float], Events] = wait  # for so many seconds at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the sender; times in seconds."""

    connections: int = 128  # a call; up to as many again while others are silent
    rate: float = 9_000.0  # requests a second in this process; the account has 10,000 for all
    connect: float = 3.0  # to open a connection
    answer: float = 3.0  # to answer a request, before it is sent again
    patience: float = 0.25  # of silence, before another connection may do a silent one's work
    idle: float = 50.0  # between two calls, before connections are not trusted any more
    waiting: int = 1024  # recipients between two tries, before no more are pulled


class ManagementTransport:
    """``ports.Transport`` on ``@connections``; see there for the guarantees, and the module.

    ``endpoint`` and ``credentials`` are asked once a call, so that both may change; what they
    raise passes through. Recipients that are still outstanding when the time is up are FAILED
    untried, so a call ends soon after ``within``, provided that its iterable does.

    Calls may run at once in several threads, or interleaved in one: each has connections of its
    own, and all share the rate. An iterator that is not exhausted must be closed.
    """

    def __init__(
        self,
        endpoint: Callable[[], str],
        credentials: Callable[[], Credentials],
        region: str,
        *,
        world: World,
        limits: Limits | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._region = region
        self._world = world
        self._limits = limits or Limits()
        self._ca_bundle = ca_bundle
        self._context: ssl.SSLContext | None = None
        self._pace = Pace(self._limits.rate)
        self._engines: list[_Engine] = []
        self._lock = threading.Lock()

    def send(self, posts: Iterable[Post], *, within: float) -> Iterator[Outcome]:
        """Post the frames of each recipient in order, recipients concurrently (at least once)."""
        return self._run("POST", (_Job(post.connection_id, post.frames) for post in posts), within)

    def probe(self, ids: Iterable[str], *, within: float) -> Iterator[Outcome]:
        """Ask whether each connection exists, without sending it anything."""
        return self._run("GET", (_Job(each, _NOTHING) for each in ids), within)

    def close(self, ids: Iterable[str], *, within: float) -> Iterator[Outcome]:
        """Cut each connection; DELIVERED when it was cut now, GONE when it was cut before."""
        return self._run("DELETE", (_Job(each, _NOTHING) for each in ids), within)

    def disconnect(self) -> None:
        """Close the idle connections; later calls open new ones."""
        with self._lock:
            engines, self._engines = self._engines, []
        for engine in engines:
            engine.disconnect()

    def _run(self, method: str, jobs: "Iterator[_Job]", within: float) -> Iterator[Outcome]:
        deadline = self._world.monotonic() + within
        return self._outcomes(method, jobs, deadline)

    def _outcomes(self, method: str, jobs: "Iterator[_Job]", deadline: float) -> Iterator[Outcome]:
        target = Target.of(self._endpoint())
        signer = Signer(target, self._credentials(), self._region)
        engine = self._borrow(target)
        batch = _Batch(method, jobs, signer, deadline)
        try:
            yield from engine.run(batch)
        finally:
            self._return(engine)
            if batch.causes:
                logger.warning(
                    "recipients_failed method=%s failed=%d causes=%s",
                    method,
                    batch.failed,
                    dict(batch.causes),
                )

    def _borrow(self, target: Target) -> "_Engine":
        with self._lock:
            if target.tls and self._context is None:
                self._context = trusting(self._ca_bundle)
            engine = self._engines.pop() if self._engines else None
        if engine is not None and engine.target != target:
            engine.disconnect()
            engine = None
        context = self._context if target.tls else None
        return engine or _Engine(target, context, self._world, self._limits, self._pace)

    def _return(self, engine: "_Engine") -> None:
        with self._lock:
            kept = len(self._engines) < _ENGINES
            if kept:
                self._engines.append(engine)
        if not kept:
            engine.disconnect()


class _Job:
    """A recipient on its way."""

    __slots__ = ("id", "frames", "sent", "tries", "resent")

    def __init__(self, connection_id: str, frames: tuple[bytes | None, ...]) -> None:
        self.id = connection_id
        self.frames = frames
        self.sent = 0  # frames delivered
        self.tries = 0  # of the present frame
        self.resent = False  # once without a pause, since an idle connection had been closed


class _Batch:
    """One call: what is to be done, and what became of it."""

    __slots__ = ("method", "jobs", "signer", "deadline", "exhausted", "failed", "causes", "done")

    def __init__(self, method: str, jobs: Iterator[_Job], signer: Signer, deadline: float) -> None:
        self.method = method
        self.jobs = jobs
        self.signer = signer
        self.deadline = deadline
        self.exhausted = False
        self.failed = 0
        self.causes: Counter[str] = Counter()  # of failures: status and type, or what broke
        self.done: list[Outcome] = []  # not yet yielded


class _Connection(Wire):
    """A wire and what it is busy with."""

    __slots__ = ("job", "received", "unsent", "since", "served", "silent", "open", "events")

    def __init__(
        self, address: Address, context: ssl.SSLContext | None, hostname: str, now: float
    ) -> None:
        super().__init__(address, context, hostname)
        self.job: _Job | None = None
        self.received = b""
        self.unsent: memoryview | None = None
        self.since = now  # when it was opened, or its request sent
        self.served = False  # has answered a request before
        self.silent = False  # for over ``patience``: not counted among the connections
        self.open = False
        self.events = WRITE  # that the selector watches for; 0 while it does not know the socket


class _Engine:
    """The loop and its connections; one call at a time."""

    def __init__(
        self,
        target: Target,
        context: ssl.SSLContext | None,
        world: World,
        limits: Limits,
        pace: Pace,
    ) -> None:
        self.target = target
        self._context = context
        self._world = world
        self._limits = limits
        self._pace = pace
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._idle: list[_Connection] = []  # the most recently used last
        self._addresses: deque[Address] = deque()
        self._session: ssl.SSLSession | None = None
        self._parked = world.now()
        self._tokens = 0  # requests that may be made, taken from the bucket

    # A call.

    def run(self, batch: _Batch) -> Iterator[Outcome]:
        self._begin(batch)
        try:
            while True:
                now = self._now = self._world.monotonic()
                if now >= batch.deadline:
                    break
                batch.signer.at(self._world.now())
                if not self._tokens:
                    self._tokens = self._pace.take(_GRANT, now)
                self._fill()
                if batch.done:
                    done, batch.done = batch.done, []
                    yield from done
                elif self._finished():
                    return
                self._turn()
            yield from self._give_up()
        finally:
            self._end()

    def _begin(self, batch: _Batch) -> None:
        self._batch = batch
        self._now = self._looked = self._world.monotonic()
        self._pending: deque[_Job] = deque()  # pulled, each with a connection being opened for it
        self._retries: list[tuple[float, int, _Job]] = []  # a heap by due time
        self._order = itertools.count()
        self._tokens = 0
        self._opening = self._silent = 0
        self._answers = self._throttled = 0
        self._waited = 0.0
        self._renewed = False
        if self._world.now() - self._parked > self._limits.idle:
            self._drop_all()
        self._addresses.clear()
        for key, _ in self._selector.select(0):  # what was closed, or spoke, while we were away
            self._readable(key.data)

    def _finished(self) -> bool:
        return (
            self._batch.exhausted
            and not self._pending
            and not self._retries
            and len(self._idle) + self._opening == len(self._connections)
        )

    def _give_up(self) -> Iterator[Outcome]:
        """The time is up: whoever is outstanding has failed, and those not yet pulled with them."""
        batch = self._batch
        for connection in list(self._connections):
            if connection.job is not None:
                self._fail(connection.job, "deadline")
                self._drop(connection)
        for job in self._pending:
            self._fail(job, "deadline")
        for _, _, job in self._retries:
            self._fail(job, "deadline")
        yield from batch.done
        for job in batch.jobs:
            batch.done = []
            self._fail(job, "deadline")
            yield from batch.done

    def _end(self) -> None:
        for connection in list(self._connections):
            if connection.job is not None or not connection.open:
                self._drop(connection)
        self._pace.give_back(self._tokens)
        self._parked = self._world.now()
        del self._batch

    # Recipients.

    def _next(self) -> _Job | None:
        """Return who is served next, if anybody, and if the rate allows."""
        if not self._tokens:
            return None
        return self._pending.popleft() if self._pending else self._draw()

    def _draw(self) -> _Job | None:
        if self._retries and self._retries[0][0] <= self._now:
            return heapq.heappop(self._retries)[2]
        batch = self._batch
        if batch.exhausted or len(self._retries) >= self._limits.waiting:
            return None
        for job in batch.jobs:
            if job.frames:
                return job
            batch.done.append((job.id, Delivery.DELIVERED))
        batch.exhausted = True
        return None

    def _retry(self, job: _Job, cause: str, at_least: float = 0.0) -> None:
        """Try again after a pause with full jitter; fail now if that is after the deadline."""
        pause = min(_BACKOFF_CAP, _BACKOFF * 2**job.tries)
        due = self._now + max(pause * self._world.random(), at_least)
        job.tries += 1
        if due >= self._batch.deadline:
            self._fail(job, cause)
        else:
            heapq.heappush(self._retries, (due, next(self._order), job))

    def _fail(self, job: _Job, cause: str) -> None:
        self._batch.failed += 1
        self._batch.causes[cause] += 1
        self._batch.done.append((job.id, Delivery.FAILED))

    # Connections.

    def _fill(self) -> None:
        """Give the idle connections work, and open more where there is more of it."""
        while self._idle:
            job = self._next()
            if job is None:
                return
            self._start(self._idle.pop(), job)
        while self._tokens and self._opening < self._room():
            if self._opening >= len(self._pending):
                job = self._draw()
                if job is None:
                    return
                self._pending.append(job)
            self._open()

    def _room(self) -> int:
        """Return how many connections may be opening now.

        Four to begin with, and more for time spent waiting: where latency is low, a handshake
        costs more than it saves.
        """
        limit = self._limits.connections
        allowed = min(limit, _FIRST + int(self._waited / _HANDSHAKE)) + min(limit, self._silent)
        return allowed - len(self._connections) + self._opening

    def _open(self) -> None:
        try:
            if not self._addresses:
                self._addresses.extend(resolve(self.target.hostname, self.target.port))
            self._addresses.rotate(-1)
            connection = _Connection(
                self._addresses[-1], self._context, self.target.hostname, self._now
            )
        except OSError as error:
            self._retry(self._pending.popleft(), _name(error))
            return
        self._connections.add(connection)
        self._opening += 1
        self._selector.register(connection.sock, WRITE, connection)

    def _advance(self, connection: _Connection) -> None:
        """Bring an opening connection nearer to its first request."""
        self._selector.unregister(connection.sock)
        connection.events = 0
        try:
            events = connection.advance(self._session)
        except OSError as error:
            self._drop(connection)
            if self._pending:
                self._retry(self._pending.popleft(), _name(error))
            return
        connection.events = events or READ
        self._selector.register(connection.sock, connection.events, connection)
        if not events:
            connection.open = True
            self._opening -= 1
            self._free(connection)

    def _free(self, connection: _Connection) -> None:
        """Let a connection that has nothing to do take the next recipient."""
        job = self._next()
        if job is not None:
            self._start(connection, job)
        else:
            self._idle.append(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if connection.silent:
            self._silent -= 1
        if not connection.open:
            self._opening -= 1
        elif connection.job is None and connection in self._idle:
            self._idle.remove(connection)
        if connection.events:
            self._selector.unregister(connection.sock)
        connection.sock.close()

    def _drop_all(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)

    def disconnect(self) -> None:
        """Close everything; the engine is not used again."""
        self._drop_all()
        self._selector.close()

    # Requests and answers.

    def _start(self, connection: _Connection, job: _Job) -> None:
        batch = self._batch
        self._tokens -= 1
        connection.job = job
        connection.since = self._now
        request = batch.signer.request(batch.method, job.id, job.frames[job.sent])
        try:
            sent = connection.sock.send(request)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self._lost(connection, _name(error))
            return
        if sent < len(request):
            connection.unsent = memoryview(request)[sent:]
            self._want(connection, READ | WRITE)

    def _want(self, connection: _Connection, events: int) -> None:
        if connection.events != events:
            connection.events = events
            self._selector.modify(connection.sock, events, connection)

    def _writable(self, connection: _Connection) -> None:
        try:
            while connection.unsent:
                sent = connection.sock.send(connection.unsent)
                connection.unsent = connection.unsent[sent:]
        except WOULD_BLOCK:
            return
        except OSError as error:
            self._lost(connection, _name(error))
            return
        connection.unsent = None
        self._want(connection, READ)

    def _readable(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(RECEIVE)
        except WOULD_BLOCK:
            return  # TLS spoke to itself, such as a session ticket
        except OSError as error:
            self._lost(connection, _name(error))
            return
        if connection.job is None:
            self._drop(connection)  # closed while idle, or speaks unasked
            return
        closed = not data
        if connection.received:
            data = connection.received + data
        try:
            answer = parse(data, closed=closed)
        except MalformedAnswerError as error:
            self._lost(connection, "malformed" if data else str(error))
            return
        if answer is None:
            connection.received = data
        else:
            self._answered(connection, connection.job, answer)

    def _answered(self, connection: _Connection, job: _Job, answer: Answer) -> None:
        self._answers += 1
        connection.job = None
        connection.received = b""
        status = answer.status
        following = None
        if 200 <= status < 300:
            job.sent += 1
            job.tries = 0
            if job.sent == len(job.frames):
                self._batch.done.append((job.id, Delivery.DELIVERED))
            else:
                following = job
        elif status == 410:
            self._batch.done.append((job.id, Delivery.GONE))
        elif status == 429 or status >= 500:
            self._throttled += status == 429
            self._retry(job, _refusal(answer), answer.retry_after or 0.0)
        else:
            self._fail(job, _refusal(answer))
        self._reuse(connection, answer, following)

    def _reuse(self, connection: _Connection, answer: Answer, following: _Job | None) -> None:
        """After an answer: go on with the same recipient's next frame, or with another one."""
        if not connection.served:
            connection.served = True
            if not self._renewed:  # once a call, as it costs a quarter of a handshake
                self._renewed = True
                self._session = connection.session  # in TLS 1.3 it comes after the handshake
        spare = not answer.reusable or connection.unsent is not None
        if connection.silent:
            connection.silent = False
            self._silent -= 1
            spare = spare or len(self._connections) - self._silent > self._limits.connections
        if following is not None:
            self._pending.appendleft(following)  # so that it is the next one
        if spare:
            self._drop(connection)
            return
        job = self._next()
        if job is not None:
            self._start(connection, job)
        else:
            self._idle.append(connection)

    def _lost(self, connection: _Connection, cause: str) -> None:
        """A connection broke: send its request again (see the module), at once if it was stale."""
        job = connection.job
        stale = connection.served and not connection.received
        self._drop(connection)
        if job is None:
            return
        if stale and not job.resent:
            job.resent = True
            self._pending.append(job)
        else:
            self._retry(job, cause)

    # Time.

    def _turn(self) -> None:
        """Wait for the sockets, as long as there is nothing else to do, and serve them."""
        timeout = self._timeout()
        starved = not self._idle and not self._batch.exhausted and self._tokens > 0
        before = self._world.monotonic()
        ready = self._world.wait(self._selector, timeout)
        self._now = now = self._world.monotonic()
        if starved:
            self._waited += now - before
        for key, events in ready:
            connection = key.data
            if not connection.open:
                self._advance(connection)
                continue
            if events & READ:
                self._readable(connection)
            if events & WRITE and connection.unsent is not None:
                self._writable(connection)
        if now - self._looked >= _TICK:
            self._pace.report(self._answers, self._throttled, now)
            self._answers = self._throttled = 0
            self._looked = now
            self._look()

    def _timeout(self) -> float:
        """Return how long to wait at most for a socket."""
        if self._batch.done:
            return 0.0
        timeout = min(_TICK, self._batch.deadline - self._now)
        if self._retries and self._retries[0][0] > self._now:  # else it waits for a connection
            timeout = min(timeout, self._retries[0][0] - self._now)
        if not self._tokens:
            timeout = min(timeout, self._pace.delay())
        return max(0.0, timeout)

    def _look(self) -> None:
        """Find the connections that have been silent for too long."""
        limits = self._limits
        for connection in list(self._connections):
            silence = self._now - connection.since
            if not connection.open:
                if silence > limits.connect:
                    self._drop(connection)
                    if self._pending:
                        self._retry(self._pending.popleft(), "connect timeout")
            elif connection.job is not None:
                if silence > limits.answer:
                    job = connection.job
                    self._drop(connection)
                    self._retry(job, "no answer")
                elif silence > limits.patience and not connection.silent:
                    connection.silent = True
                    self._silent += 1


def _refusal(answer: Answer) -> str:
    return f"{answer.status} {answer.error_type}".rstrip()


def _name(error: OSError) -> str:
    """Name what broke, as a log may count it: ConnectionResetError, SSLCertVerificationError."""
    return type(error).__name__
