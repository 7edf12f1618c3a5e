"""From a POST to the last push, on bin/dev's stack, with everything on this machine.

The stack runs in a process of its own; the sockets and the publisher are in this one. So a round
takes what the app, the embedded AWS, the gateway and the receiving sockets take together, on the
same cores: it shows what a developer sees, and regressions, not what AWS would do.
"""

import argparse
import asyncio
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).parent.parent
WARM_UP = 5
CONNECTING = 20  # sockets that connect at the same time


@dataclass(frozen=True, slots=True)
class Row:
    """What one audience size gave; times in milliseconds."""

    sockets: int
    rounds: int
    last_push_p50: float
    last_push_p90: float
    answer_p50: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/bench local", description=__doc__)
    parser.add_argument("--sockets", type=int, nargs="+", default=[1, 20, 200], metavar="N")
    parser.add_argument("--rounds", type=int, default=50)
    parsed = parser.parse_args(arguments)
    with _stack() as (http_url, ws_url, key):
        publisher = Publisher(http_url, key)
        rows = [
            asyncio.run(_measure(publisher, ws_url, sockets, parsed.rounds))
            for sockets in parsed.sockets
        ]
        publisher.close()
    sys.stdout.write(_table(rows))
    sys.stdout.write(json.dumps({**_circumstances(arguments), "rows": list(map(asdict, rows))}))
    sys.stdout.write("\n")
    return 0


class Publisher:
    """Publishes over one HTTP connection."""

    def __init__(self, url: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}

    def publish(self, channel: str, data: object) -> float:
        """Publish; when the answer was there (perf_counter)."""
        body = json.dumps({"channel": channel, "data": data})
        self._connection.request("POST", "/publish", body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK or b"error" in answer:
            raise RuntimeError(f"POST /publish: {response.status} {answer!r}")
        return perf_counter()

    def close(self) -> None:
        self._connection.close()


class Audience:
    """Counts, for one round after another, the sockets that the publication has reached."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._missing = 0
        self._last = asyncio.get_running_loop().create_future()

    def expect(self) -> "asyncio.Future[float]":
        """Begin a round; when the last push was there (perf_counter)."""
        self._missing = self._size
        self._last = asyncio.get_running_loop().create_future()
        return self._last

    async def listen(self, socket: ClientConnection) -> None:
        async for _ in socket:
            self._missing -= 1
            if not self._missing:
                self._last.set_result(perf_counter())


async def _measure(publisher: Publisher, ws_url: str, sockets: int, rounds: int) -> Row:
    channel = f"bench-{sockets}"
    pushed, answered = [], []
    async with AsyncExitStack() as stack:
        audience = Audience(sockets)
        members = await _join(stack, ws_url, channel, sockets)
        listeners = [asyncio.create_task(audience.listen(member)) for member in members]
        for number in range(WARM_UP + rounds):
            last = audience.expect()
            began = perf_counter()
            answer = await asyncio.to_thread(publisher.publish, channel, {"n": number})
            answered.append(answer - began)
            pushed.append(await last - began)
    await asyncio.gather(*listeners)
    last_push, answers = _percentiles(pushed[WARM_UP:]), _percentiles(answered[WARM_UP:])
    return Row(sockets, rounds, last_push[49], last_push[89], answers[49])


async def _join(
    stack: AsyncExitStack, ws_url: str, channel: str, sockets: int
) -> list[ClientConnection]:
    turn = asyncio.Semaphore(CONNECTING)

    async def join() -> ClientConnection:
        async with turn:
            socket = await stack.enter_async_context(connect(ws_url, proxy=None, open_timeout=60))
            await socket.send(json.dumps({"action": "subscribe", "channel": channel, "id": 1}))
            answer = json.loads(await socket.recv())
            if answer["event"] != "subscribe":
                raise RuntimeError(f"subscribe: {answer}")
            return socket

    return await asyncio.gather(*(join() for _ in range(sockets)))


def _percentiles(seconds: list[float]) -> list[float]:
    """The 1st to the 99th, in milliseconds."""
    return [round(value * 1000, 1) for value in quantiles(seconds, n=100, method="inclusive")]


@contextmanager
def _stack() -> Iterator[tuple[str, str, str]]:
    """Run bin/dev's stack on free ports; its HTTP URL, WebSocket URL and API key."""
    ports = ("--http-port", "0", "--ws-port", "0", "--aws-port", "0")
    command = [sys.executable, "-m", "devstack", *ports, "--log-level", "error"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if not words or words[0] != "ready":
            raise RuntimeError("the stack did not start")
        try:
            yield words[1], words[2], words[words.index("key:") + 1]
        finally:
            process.send_signal(signal.SIGTERM)


def _table(rows: Sequence[Row]) -> str:
    lines = ["sockets   last push p50   last push p90   answer p50   (ms)"]
    lines += [
        f"{row.sockets:7}   {row.last_push_p50:13.1f}   {row.last_push_p90:13.1f}"
        f"   {row.answer_p50:10.1f}"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _circumstances(arguments: Sequence[str]) -> dict[str, object]:
    """Without which a number means nothing."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "bench": "local",
        "command": " ".join(["bin/bench", "local", *arguments]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": described.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
    }
