"""A small real HTTP server on loopback that answers ``@connections`` as a test scripts it."""

import contextlib
import socket
import ssl
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n"
    b"x-amzn-RequestId: 5bc2ff4e-d2f8-4b4c-9b6f-2f8a1a1e7b0a\r\n\r\n"
)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nx-amzn-ErrorType: GoneException\r\nContent-Length: 0\r\n\r\n"
GONE_WITH_BODY = b"HTTP/1.1 410 Gone\r\nContent-Length: 16\r\n\r\n" + b'{"message":null}'
THROTTLED = (
    b"HTTP/1.1 429 Too Many Requests\r\nx-amzn-ErrorType: LimitExceededException\r\n"
    b'Content-Length: 16\r\n\r\n{"message":null}'
)
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 23\r\n\r\n" + b'{"message":"Forbidden"}'
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class ResetError(Exception):
    """Raised by a script: reset the connection instead of an answer."""


class HangError(Exception):
    """Raised by a script: never answer."""


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    id: str
    path: str
    headers: dict[str, str]
    body: bytes
    socket: int  # which connection it came on, counted from 0
    count: int  # how many came for this id, this one included


Script: TypeAlias = Callable[[Request], bytes]


class ScriptedServer:
    """Threads that read requests and write what ``script`` returns.

    Attributes:
        requests: every request that came, in order of arrival.
        sockets: how many connections were made.
        most_open: how many of them were open at a time.
        port: where it listens.
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.sockets = 0
        self.most_open = 0
        self._open: set[socket.socket] = set()
        self._counts: Counter[str] = Counter()
        self._context = context
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept)

    @property
    def endpoint(self) -> str:
        """The management URL of stage ``api``."""
        scheme, host = ("https", "localhost") if self._context else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}/api"

    def bodies(self) -> dict[str, list[bytes]]:
        """Return what was posted to each id, in order."""
        found: defaultdict[str, list[bytes]] = defaultdict(list)
        for request in self.requests:
            found[request.id].append(request.body)
        return dict(found)

    def hang_up(self) -> None:
        """Close every open connection, and return when the peer can see it."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close everything, and wait for the threads."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number, self.sockets = self.sockets, self.sockets + 1
                self._open.add(sock)
                self.most_open = max(self.most_open, len(self._open))
            self._spawn(lambda sock=sock, number=number: self._serve(sock, number))  # type: ignore[misc]

    def _serve(self, plain: socket.socket, number: int) -> None:
        sock = plain
        try:
            if self._context is not None:
                with self._lock:
                    sock = self._context.wrap_socket(
                        plain, server_side=True, do_handshake_on_connect=False
                    )
                    self._open.discard(plain)
                    self._open.add(sock)
                assert isinstance(sock, ssl.SSLSocket)
                sock.do_handshake()
            with sock.makefile("rb") as stream:
                while (request := self._read(stream.readline, stream.read, number)) is not None:
                    sock.sendall(self.script(request))
        except HangError:
            self._over.wait()
        except ResetError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # the client went away, as it may
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _read(
        self, line: Callable[[], bytes], read: Callable[[int], bytes], number: int
    ) -> Request | None:
        start = line().decode()
        if not start:
            return None
        method, path, _ = start.split(" ")
        headers: dict[str, str] = {}
        while (field := line().decode().rstrip("\r\n")) != "":
            name, _, value = field.partition(": ")
            headers[name.lower()] = value
        body = read(int(headers.get("content-length", "0")))
        connection_id = unquote(path.rpartition("/")[2])
        with self._lock:
            self._counts[connection_id] += 1
            count = self._counts[connection_id]
            request = Request(method, connection_id, path, headers, body, number, count)
            self.requests.append(request)
        return request


@contextlib.contextmanager
def serving(script: Script, context: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server for as long as the block lasts."""
    server = ScriptedServer(script, context)
    try:
        yield server
    finally:
        server.stop()
