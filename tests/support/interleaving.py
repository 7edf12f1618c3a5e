"""A scheduler that runs the core's processes in any order, switching before every call they make.

Each process (a publisher, a client, a `$disconnect`) is a greenlet. Its store, its streams and its
transport are proxies that hand control back before each call, so the scheduler's dice decide the
interleaving, and the same seed gives the same run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

from chalicelib.model import Delivery, Post
from chalicelib.ports import Store, Streams
from chalicelib.transport.memory import MemoryTransport
from tests.support.world import Clock, World


class _OverError(Exception):
    """The run has ended: an abandoned process that is cleaned up must not touch anything."""


class Scheduler:
    """Runs processes step by step.

    Args:
        seed: Of the dice.
        sticky: How likely the same process goes on: 0 mixes finely, 0.9 lets each run far ahead.
    """

    def __init__(self, seed: int, sticky: float) -> None:
        self._dice = Random(seed)
        self._sticky = sticky
        self._ready: list[greenlet] = []
        self._hub = getcurrent()
        self.over = False

    def start(self, process: Callable[[], object]) -> greenlet:
        started = greenlet(process, parent=self._hub)
        self._ready.append(started)
        return started

    def crash(self, process: greenlet) -> None:
        """The process never gets to its next step, nor to any cleaning up."""
        if process in self._ready:
            self._ready.remove(process)

    def run(self, most: int = 50_000) -> None:
        """Run until every process has ended."""
        process = None
        for _ in range(most):
            if not self._ready:
                return
            if process not in self._ready or self._dice.random() >= self._sticky:
                process = self._dice.choice(self._ready)
            assert process is not None
            process.switch()
            if process.dead:
                self._ready.remove(process)
        raise AssertionError("the processes do not come to an end")

    def step(self) -> None:
        """Let others run before this process goes on."""
        if self.over:
            raise _OverError
        if getcurrent() is not self._hub:
            self._hub.switch()


class Proxy:
    """Any port, with a step before each call, and before each item of what it iterates."""

    def __init__(self, port: Any, scheduler: Scheduler) -> None:
        self._port = port
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._scheduler.step()
            result = value(*arguments, **named)
            return self._stepping(result) if isinstance(result, Iterator) else result

        return call

    def _stepping(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self._scheduler.step()


class SteppingClock(Clock):
    """Sleeping lets others run; time passes for everybody when the sleeper wakes."""

    scheduler: Scheduler

    def sleep(self, seconds: float) -> None:
        wake_at = self.now + seconds
        self.scheduler.step()
        self.now = max(self.now, wake_at)


class Wire(MemoryTransport):
    """A transport that lets others run before each post."""

    scheduler: Scheduler

    def _send(self, post: Post, within: float) -> Delivery:
        self.scheduler.step()
        return super()._send(post, within)


def stepping_world(
    scheduler: Scheduler, peers: Callable[[Clock], tuple[Store, Streams]], **settings: Any
) -> World:
    """The core on stepping peers."""
    clock = SteppingClock()
    clock.scheduler = scheduler
    store, streams = peers(clock)
    wire = Wire()
    wire.scheduler = scheduler
    stepping = (Proxy(store, scheduler), Proxy(streams, scheduler))
    return World(clock=clock, peers=stepping, transport=wire, **settings)


@dataclass
class Subscriber:
    """A client as the SDKs are: it keeps its position, comes back after a cut, and recovers.

    Attributes:
        seen: Each offset when it was seen for the first time, in order.
        joined: The offset after which it is to see everything.
        duplicates: How often an offset came that had been seen.
    """

    world: World
    name: str
    channel: str
    seen: list[int] = field(default_factory=list)
    joined: int = -1
    position: tuple[int, str] | None = None
    lives: int = 0
    duplicates: int = 0
    _read: int = 0
    _subscribed: bool = False

    @property
    def connection_id(self) -> str:
        return f"{self.name}.{self.lives}"

    @property
    def is_cut(self) -> bool:
        """Whether an SDK would come back: it was told to, or got no answer."""
        frames = self.world.heard(self.connection_id)
        told = any("disconnect" in frame.get("push", {}) for frame in frames)
        return told or not self._subscribed

    def live(self) -> None:
        """Begin a life: connect, and subscribe from where the last one ended."""
        self.lives += 1
        self._read, self._subscribed = 0, False
        subscribe: dict[str, Any] = {"channel": self.channel}
        if self.position:
            subscribe |= {
                "recover": True,
                "offset": self.position[0],
                "epoch": self.position[1],
            }
        self.world.open(self.connection_id)
        self.world.say(
            self.connection_id, {"id": 1, "connect": {}}, {"id": 2, "subscribe": subscribe}
        )

    def read(self) -> None:
        """Take in what the wire has brought since, in order."""
        frames = self.world.heard(self.connection_id)
        for frame in frames[self._read :]:
            if "subscribe" in frame:
                self._subscribe(frame["subscribe"])
            elif "pub" in frame.get("push", {}) and self._subscribed:
                self._see(frame["push"]["pub"]["offset"])
        self._read = len(frames)

    def _subscribe(self, result: dict[str, Any]) -> None:
        self._subscribed = True
        offset = result.get("offset", 0)
        if self.joined < 0 or (result.get("was_recovering") and not result.get("recovered")):
            self.joined, self.seen = offset, []
        self.position = (offset, result["epoch"])
        for publication in result.get("publications", []):
            self._see(publication["offset"])

    def _see(self, offset: int) -> None:
        assert self.position is not None
        self.position = (offset, self.position[1])
        if offset > max(self.seen, default=self.joined):
            self.seen.append(offset)
        else:
            assert offset in self.seen or offset <= self.joined, (
                f"{self.name} got {offset} after {self.seen}"
            )
            self.duplicates += 1


def published(world: World, channel: str) -> list[int]:
    """The offsets at which something stands that readers are to see."""
    page = world.streams.oldest(channel, after=0, limit=10_000)
    return [slot.offset for slot in page.slots if slot.publication]
