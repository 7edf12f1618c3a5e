"""A management API of a few lines, and a transport to it, for tests."""

import contextlib
import selectors
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator

from chalicelib.transport.management import Events, Limits, ManagementTransport, World
from chalicelib.transport.sigv4 import Credentials
from tests.scripted_server import (
    FORBIDDEN,
    GONE,
    NO_CONTENT,
    OK,
    THROTTLED,
    Request,
    ScriptedServer,
    serving,
)

# No pauses: jitter of nothing. The bucket holds more than any test asks for.
HASTE = Limits(rate=1e6)


class Clock:
    """A clock that stands still but for a microsecond at each look, and ``pass_time``."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        self.pass_time(1e-6)
        return self.time

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.time += seconds

    def wait(self, selector: selectors.BaseSelector, timeout: float) -> Events:
        """Wait for sockets; the clock does not notice."""
        return selector.select(timeout)


class HastyClock(Clock):
    """A clock on which a wait in vain is soon over: minutes of it take no time."""

    def wait(self, selector: selectors.BaseSelector, timeout: float) -> Events:
        """Wait a little in truth, and if nothing came, for all of the timeout by the clock."""
        ready = selector.select(min(timeout, 0.002))
        if not ready:
            self.pass_time(timeout)
        return ready


@contextlib.contextmanager
def transport_to(
    server: ScriptedServer,
    *,
    limits: Limits = HASTE,
    clock: Clock | None = None,
    random: float = 0.0,
    ca_bundle: str | None = None,
) -> Iterator[ManagementTransport]:
    """Build a transport to a server, with a clock that hardly moves and luck that is fixed."""
    clock = clock or Clock()
    world = World(now=clock, monotonic=clock, random=lambda: random, wait=clock.wait)
    transport = ManagementTransport(
        lambda: server.endpoint,
        lambda: Credentials("AKID", "secret", "token"),
        "eu-west-1",
        world=world,
        limits=limits,
        ca_bundle=ca_bundle,
    )
    try:
        yield transport
    finally:
        transport.disconnect()


class Connections:
    """Connections that take posts, as API Gateway has them; live until scripted otherwise."""

    def __init__(self) -> None:
        self.frames: dict[str, list[bytes]] = defaultdict(list)
        self._gone: set[str] = set()
        self._failing: dict[str, int] = {}
        self._throttled: dict[str, int] = {}
        self._lock = threading.Lock()

    def lose(self, connection_id: str) -> None:
        """From now on the connection is gone."""
        self._gone.add(connection_id)

    def fail(self, connection_id: str, *, after: int = 0) -> None:
        """From now on the connection is forbidden, once it has received ``after`` frames."""
        self._failing[connection_id] = after

    def throttle(self, connection_id: str, times: int) -> None:
        """Answer the next ``times`` requests for the connection with 429."""
        self._throttled[connection_id] = times

    def serving(
        self, context: ssl.SSLContext | None = None
    ) -> contextlib.AbstractContextManager[ScriptedServer]:
        """Serve them for as long as the block lasts."""
        return serving(self.answer, context)

    def answer(self, request: Request) -> bytes:
        """Answer one request."""
        with self._lock:
            if request.id in self._gone:
                return GONE
            after = self._failing.get(request.id)
            if after is not None and len(self.frames.get(request.id, ())) >= after:
                return FORBIDDEN
            if self._throttled.get(request.id):
                self._throttled[request.id] -= 1
                return THROTTLED
            if request.method == "POST":
                self.frames[request.id].append(request.body)
            if request.method == "DELETE":
                self._gone.add(request.id)
                return NO_CONTENT
        return OK
