"""How many sockets the local gateway holds, what each costs, and how fast posts go through.

The gateway runs in a process of its own, as ``python -m localgateway``; this process holds the
clients (the ``websockets`` library) and posts over kept HTTP connections, without boto3, whose
signing would be the bottleneck. One more client is deaf: it never reads.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from localgateway.events import Event

ROOT = Path(__file__).parents[1]
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=any"}
POSTERS = 32  # kept HTTP connections, like a fan-out's pool
STAMPEDE = 100  # handshakes at once
WHO = '{"action":"who"}'
BODY = b"x" * 200  # a small notification
DEAF_BODY = b"x" * 128 * 1024


def _connect(event: Event, context: Any) -> dict[str, Any]:
    return {"statusCode": 200}


def _who(event: Event, context: Any) -> dict[str, Any]:
    return {"statusCode": 200, "body": event["requestContext"]["connectionId"]}


HANDLERS = {"$connect": _connect, "who": _who}
"""What the gateway serves: handlers that cost nothing, one of which tells a client its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run saw; memory in bytes, times in seconds."""

    sockets: int
    connect_seconds: float
    memory: int
    received: int
    post_seconds: float
    latencies: list[float]
    deaf_accepted: int
    deaf_memory: int
    beside_deaf_received: int
    beside_deaf_seconds: float

    def lines(self) -> Iterator[str]:
        """Spell it for people."""
        cuts = statistics.quantiles(self.latencies, n=100)
        yield f"sockets held             {self.sockets}"
        yield f"connected                {self.sockets / self.connect_seconds:.0f} a second"
        yield f"memory a socket          {self.memory / self.sockets / 1024:.1f} KB"
        yield f"posts received           {self.received} of {self.sockets}"
        yield f"posts                    {self.sockets / self.post_seconds:.0f} a second"
        yield f"post to receipt          p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"
        yield f"deaf client              {self.deaf_accepted} posts of 128 KB taken, then 429"
        yield f"  memory grown by        {self.deaf_memory / 1024:.0f} KB"
        yield f"  posts to the others    {self.sockets / self.beside_deaf_seconds:.0f} a second"
        yield f"  received               {self.beside_deaf_received} of {self.sockets}"


def main(argv: Sequence[str]) -> int:
    """Run the benchmark; print it with what makes the numbers mean something."""
    parser = argparse.ArgumentParser(prog="bin/bench gateway", description=__doc__)
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--deflate", action="store_true", help="clients offer permessage-deflate")
    options = parser.parse_args(argv)
    _allow_files(options.sockets + 500)
    report = measure(sockets=options.sockets, compression="deflate" if options.deflate else None)
    for each in (*_circumstances(argv), *report.lines()):
        sys.stdout.write(each + "\n")
    return 0 if report.received == report.beside_deaf_received == report.sockets else 1


def measure(*, sockets: int, compression: Literal["deflate"] | None) -> Report:
    """Start a gateway, hold so many sockets, post to each; then again beside a deaf client."""
    with _gateway() as (pid, ws_url, management_url):
        return asyncio.run(_run(pid, ws_url, management_url, sockets, compression))


async def _run(
    pid: int,
    ws_url: str,
    management_url: str,
    sockets: int,
    compression: Literal["deflate"] | None,
) -> Report:
    async with AsyncExitStack() as stack:
        posts = await stack.enter_async_context(_Posts(management_url))
        empty = _memory(pid)
        started = time.perf_counter()
        clients = await _hold(stack, ws_url, sockets, compression)
        connected = time.perf_counter() - started
        held = _memory(pid)
        ids = await _ids_of(clients)
        latencies, seconds = await posts.to_all(clients, ids)
        before_deaf = _memory(pid)
        deaf = stack.enter_context(_deaf(ws_url))
        accepted = await posts.until_refused(await asyncio.to_thread(_introduce, deaf))
        full = _memory(pid)
        beside, beside_seconds = await posts.to_all(clients, ids)
    return Report(
        sockets=sockets,
        connect_seconds=connected,
        memory=held - empty,
        received=len(latencies),
        post_seconds=seconds,
        latencies=latencies,
        deaf_accepted=accepted,
        deaf_memory=full - before_deaf,
        beside_deaf_received=len(beside),
        beside_deaf_seconds=beside_seconds,
    )


async def _hold(
    stack: AsyncExitStack, url: str, sockets: int, compression: Literal["deflate"] | None
) -> list[ClientConnection]:
    clients: list[ClientConnection] = []
    while len(clients) < sockets:
        wave = (
            connect(url, compression=compression, ping_interval=None, open_timeout=60)
            for _ in range(min(STAMPEDE, sockets - len(clients)))
        )
        clients += await asyncio.gather(*(stack.enter_async_context(each) for each in wave))
    return clients


async def _ids_of(clients: list[ClientConnection]) -> list[str]:
    """Ask in waves: 5,000 questions at once are beyond Lambda's concurrency, so beyond ours."""
    ids: list[str] = []
    while len(ids) < len(clients):
        wave = clients[len(ids) : len(ids) + STAMPEDE]
        await asyncio.gather(*(client.send(WHO) for client in wave))
        ids += [str(await client.recv()) for client in wave]
    return ids


class _Posts:
    """Posts over kept connections, without boto3."""

    def __init__(self, management_url: str) -> None:
        self._url = f"{management_url}/@connections"

    async def __aenter__(self) -> "_Posts":
        connector = aiohttp.TCPConnector(limit=POSTERS)
        self._session = aiohttp.ClientSession(connector=connector, headers=SIGNED)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def to_all(
        self, clients: list[ClientConnection], ids: list[str]
    ) -> tuple[list[float], float]:
        """Post once to each; give the latencies of what arrived, and how long all took."""
        started = time.perf_counter()
        slots = asyncio.Semaphore(POSTERS)
        pairs = zip(clients, ids, strict=True)
        latencies = await asyncio.gather(*(self._to(slots, *pair) for pair in pairs))
        return [each for each in latencies if each >= 0], time.perf_counter() - started

    async def until_refused(self, connection_id: str) -> int:
        """Post 128 KB again and again; give how many were taken before the 429."""
        accepted = 0
        while await self._post(connection_id, DEAF_BODY) == 200:
            accepted += 1
        return accepted

    async def _to(
        self, slots: asyncio.Semaphore, client: ClientConnection, connection_id: str
    ) -> float:
        async with slots:
            started = time.perf_counter()
            if await self._post(connection_id, BODY) != 200:
                return -1
            await client.recv()
            return time.perf_counter() - started

    async def _post(self, connection_id: str, body: bytes) -> int:
        async with self._session.post(f"{self._url}/{quote(connection_id)}", data=body) as response:
            await response.read()
            return response.status


@contextmanager
def _deaf(url: str) -> Iterator[socket.socket]:
    """Open a bare socket that asks who it is and then reads no more."""
    address = urlsplit(url)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((address.hostname, address.port))
        raw.sendall(
            b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            + bytes([0x81, 0x80 | len(WHO)])
            + bytes(4)
            + WHO.encode()
        )
        yield raw


def _introduce(deaf: socket.socket) -> str:
    """Read the deaf client's id: 16 characters in the one frame after the 101."""
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 18:
        received += deaf.recv(4096)
    return received.partition(b"\r\n\r\n")[2][2:18].decode()


@contextmanager
def _gateway() -> Iterator[tuple[int, str, str]]:
    """Run the gateway; give its process id and its two URLs."""
    command = [sys.executable, "-m", "localgateway", "bench.gateway:HANDLERS", "--project", "."]
    command += ["--port", "0", "--log", "json", "--set", 'route_responses=["who"]']
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        listening = json.loads(process.stdout.readline())
        # Nobody reads the log of the run, but it must not fill the pipe.
        drain = threading.Thread(target=deque, args=(process.stdout, 0))
        drain.start()
        try:
            yield process.pid, listening["ws"], listening["management"]
        finally:
            process.terminate()
            drain.join()


def _memory(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    kilobytes = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True
    ).stdout
    return int(kilobytes) * 1024


def _allow_files(wanted: int) -> None:
    """Raise the limit of open files, which the gateway inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if wanted > hard != resource.RLIM_INFINITY:
        sys.stdout.write(f"{wanted} open files are needed and {hard} allowed: see ulimit -n\n")


def _circumstances(argv: Sequence[str]) -> Iterator[str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    yield f"date                     {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
    yield f"commit                   {commit or 'unknown'}"
    yield (
        f"machine                  {os.cpu_count()} cores, {platform.machine()}, "
        f"{platform.system()}, Python {platform.python_version()}"
    )
    yield f"command                  bin/bench gateway {' '.join(argv)}".rstrip()
