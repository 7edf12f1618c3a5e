"""Clients that nobody here wrote, each SDK in a process of its own, driven by a common protocol.

A driver runs any number of clients of one SDK. It reads one command a line from stdin, a JSON
object with ``as``, the client's name, ``do``, and the command's fields, and ends when stdin does::

    connect           url, token
    disconnect
    subscribe         channel, recoverable, positioned, join_leave, token
    unsubscribe       channel
    churn             channel, times: unsubscribe and subscribe, without waiting for replies
    send              data
    publish           id, channel, data
    rpc               id, method, data
    history           id, channel, limit, since {offset, epoch}, reverse
    presence          id, channel
    presence_stats    id, channel

It writes one event a line to stdout, a JSON object with ``as``, ``event``, and its fields, named
alike for every SDK, as far as the SDK tells them::

    connecting        code, reason
    connected         client
    disconnected      code, reason
    error             code, message, and channel if a subscription has it
    subscribing       channel
    subscribed        channel, recoverable, was_recovering, recovered, offset, epoch
    unsubscribed      channel, code, reason
    publication       channel, data, offset, tags, info {client, user}
    joined, left      channel, info {client, user}
    message           data
    reply             id, and either result or error {code, message}

Events of a subscription that the server made have ``server_side: true``.

The driver named ``plain`` is a bare WebSocket: what it does not know it sends as an action frame,
and the frames that it gets are its events.
"""

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[3]

# Seconds for anything to happen: far more than a slow machine takes, reached only by failures.
DEADLINE = 30.0

Event = dict[str, Any]
Predicate = Callable[[Event], bool]


def event(name: str, **fields: object) -> Predicate:
    """Whether an event has that name and all of those fields."""
    wanted = {"event": name, **fields}
    return lambda found: wanted.items() <= found.items()


class Driver:
    """A running driver; a context manager, which ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._clients: dict[str, Client] = {}
        self._names = count(1)
        self._writing = threading.Lock()
        self.ended = False
        self._reader = threading.Thread(target=self._read, name=f"driver {command[-1]}")
        self._reader.start()

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join()
            self._process.stdout.close()

    def client(self) -> "Client":
        """A new client, which is not connected."""
        client = Client(self, f"client {next(self._names)}")
        self._clients[client.name] = client
        return client

    def write(self, command: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found: Event = json.loads(line)
            self._clients[found.pop("as")].hear(found)
        self.ended = True
        for client in list(self._clients.values()):
            client.hear({"event": "driver ended"})


class Client:
    """One client of an SDK: commands go in, ``events`` grow."""

    def __init__(self, driver: Driver, name: str) -> None:
        self.name = name
        self.events: list[Event] = []
        self._driver = driver
        self._ids = count(1)
        self._changed = threading.Condition()

    def hear(self, found: Event) -> None:
        """Take an event from the driver."""
        with self._changed:
            self.events.append(found)
            self._changed.notify_all()

    def command(self, do: str, **fields: object) -> None:
        """Give a command; nothing is awaited."""
        self._driver.write({"as": self.name, "do": do, **fields})

    def call(self, do: str, **fields: object) -> Event:
        """Give a command that has a reply, and wait for it."""
        number, since = next(self._ids), len(self.events)
        self.command(do, id=number, **fields)
        return self.wait_for(lambda found: found.get("id") == number, since=since)

    def wait_for(self, predicate: Predicate, timeout: float = DEADLINE, *, since: int = 0) -> Event:
        """The first event, from number ``since`` on, that fulfils the predicate.

        Raises: TimeoutError, which tells the last events.
        """
        return self.wait_for_all(1, predicate, timeout, since=since)[0]

    def wait_for_all(
        self, number: int, predicate: Predicate, timeout: float = DEADLINE, *, since: int = 0
    ) -> list[Event]:
        """All events that fulfil the predicate, as soon as there are that many.

        Raises: TimeoutError, which tells the last events.
        """
        found: list[Event] = []
        seen = since

        def enough() -> bool:
            nonlocal seen
            new = self.events[seen:]
            seen += len(new)
            found.extend(filter(predicate, new))
            return len(found) >= number

        self.wait_until(enough, timeout)
        return found

    def wait_until(self, condition: Callable[[], bool], timeout: float = DEADLINE) -> None:
        """Wait until a condition on this client's events holds.

        Raises: TimeoutError, which tells the last events; RuntimeError if the driver has ended.
        """

        def holds() -> bool:
            if condition():
                return True
            if self._driver.ended:
                raise RuntimeError("the driver has ended; stderr says why")
            return False

        with self._changed:
            if not self._changed.wait_for(holds, timeout):
                raise TimeoutError(f"after {timeout} s {self.name} heard {self.events[-20:]}")

    def heard(self, predicate: Predicate, *, since: int = 0) -> list[Event]:
        """The events so far, from number ``since`` on, that fulfil the predicate."""
        return [found for found in self.events[since:] if predicate(found)]

    # -- What every test does

    def connect(self, url: str, **fields: object) -> str:
        """Connect and wait for it; the client id, which a plain socket is not told."""
        self.command("connect", url=url, **fields)
        return str(self.wait_for(event("connected")).get("client", ""))

    def subscribe(self, channel: str, **fields: object) -> Event:
        """Subscribe and wait for it."""
        since = len(self.events)
        self.command("subscribe", channel=channel, **fields)
        return self.wait_for(event("subscribed", channel=channel), since=since)

    def publications(self, channel: str, *, since: int = 0) -> list[Any]:
        """The data of the publications of a channel so far, in order."""
        found = self.heard(event("publication", channel=channel), since=since)
        return [each["data"] for each in found]
