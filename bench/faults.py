"""Processes that die in the middle: the app's parts, wrapped so that some of their calls are last.

A process that is killed makes no further call and releases nothing. Here its place is taken by a
thread's work: one drain, one publish or one join. ``Killed`` is no Exception, so that nothing in
the app answers, tidies up or logs for the dead, and what it would do in ``finally`` fails as well.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any

from chalicelib import limits
from chalicelib.errors import StoreError
from chalicelib.model import Cursor, Delivery, Position, Post, Slot, Subscription
from chalicelib.ports import Flip, Reached, Write


class Killed(BaseException):
    """The process that made this call is no more."""


@dataclass(frozen=True, slots=True)
class Shares:
    """From 0 to 1: how many die.

    Attributes:
        drains: Drains that are killed holding the shard, at any of their calls.
        failures: Drains of which a call fails, so that they let go of the shard.
        publishers: Publishers that die between allocating an offset and writing it.
        joins: Joins that die before the client is told, or after that and before they are live.
        lease: Seconds after which the lease of a drain that was killed ends, in place of
            ``limits.LEASE_SECONDS``: the dead are dead, and a run takes minutes.
    """

    drains: float = 0.05
    failures: float = 0.05
    publishers: float = 0.005
    joins: float = 0.01
    lease: float = 1.0


# Calls that a doomed drain makes after it took the shard; most drains make fewer than this.
LAST_CALL = 5
# Recipients that are sent to, at most, by a drain that dies while it sends.
LAST_SENT = 10


@dataclass(slots=True)
class Drain:
    """What a thread is at: who holds which shard, how far it is, and when it dies."""

    channel: str
    shard: int
    holder: str
    cursor: Cursor
    left: int  # calls until the end; -1: no end
    kill: bool
    dead: bool = False


class Fates:
    """Decides who dies, by a seed; counts the dead."""

    def __init__(self, seed: int, shares: Shares) -> None:
        self.spared = threading.Event()
        self.deaths: Counter[str] = Counter()
        self.shares = shares
        self._dice = Random(f"{seed} fates")
        self._lock = threading.Lock()
        self._thread = threading.local()

    def dies(self, share: float, what: str) -> bool:
        with self._lock:
            doomed = self._dice.random() < share and not self.spared.is_set()
            self.deaths[what] += doomed
        return doomed

    def number(self, most: int) -> int:
        with self._lock:
            return self._dice.randint(0, most)

    @property
    def drain(self) -> Drain | None:
        return getattr(self._thread, "drain", None)

    @drain.setter
    def drain(self, drain: Drain | None) -> None:
        self._thread.drain = drain

    def begin(self, channel: str, shard: int, holder: str, cursor: Cursor) -> None:
        """This thread has taken a shard."""
        kill = self.dies(self.shares.drains, "drains killed")
        doomed = kill or self.dies(self.shares.failures, "drains failed")
        left = self.number(LAST_CALL) if doomed else -1
        self.drain = Drain(channel, shard, holder, cursor, left, kill)

    def is_last(self) -> bool:
        """Whether the call that this thread is about to make is the one that it dies at."""
        drain = self.drain
        return drain is not None and (drain.left == 0 or drain.dead)

    def step(self) -> None:
        """This thread makes a call. Raises: Killed, StoreError."""
        drain = self.drain
        if drain is None or drain.left < 0:
            return
        if drain.left > 0:
            drain.left -= 1
            return
        if drain.kill:
            drain.dead = True
            raise Killed
        drain.left = -1
        raise StoreError("this call fails on purpose")


class _Mortal:
    """Passes calls on, until the thread that makes them dies."""

    def __init__(self, inner: Any, fates: Fates) -> None:
        self._inner = inner
        self._fates = fates

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._stepping(found) if callable(found) else found

    def _stepping(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._fates.step()
            return method(*arguments, **named)

        return call


class MortalStore(_Mortal):
    """A ports.Store."""

    def enter_channel(self, subscription: Subscription, *, most: int) -> Write:
        if self._fates.dies(self._fates.shares.joins / 2, "joins killed"):
            raise Killed
        entered: Write = self._inner.enter_channel(subscription, most=most)
        return entered

    def go_live(self, subscription: Subscription, position: Position) -> Flip:
        if self._fates.dies(self._fates.shares.joins / 2, "joins killed"):
            raise Killed
        flip: Flip = self._inner.go_live(subscription, position)
        return flip


class MortalStreams(_Mortal):
    """A ports.Streams."""

    def write(self, channel: str, slot: Slot) -> bool:
        if slot.publication and self._fates.dies(self._fates.shares.publishers, "writers killed"):
            raise Killed
        self._fates.step()
        written: bool = self._inner.write(channel, slot)
        return written

    def take(self, channel: str, shard: int, holder: str, *, until: float) -> Cursor | None:
        cursor: Cursor | None = self._inner.take(channel, shard, holder, until=until)
        if cursor is not None:
            self._fates.begin(channel, shard, holder, cursor)
        return cursor

    def advance(self, channel: str, shard: int, reached: Reached) -> Cursor | None:
        drain = self._fates.drain
        assert drain is not None
        if drain.dead:
            self._bury(drain, reached)
            raise Killed
        self._fates.step()
        cursor: Cursor | None = self._inner.advance(channel, shard, reached)
        if cursor is None:
            self._fates.drain = None
        else:
            drain.cursor = cursor
        return cursor

    def _bury(self, drain: Drain, reached: Reached) -> None:
        """Shorten the lease of the dead, which nobody does in earnest."""
        self._fates.drain = None
        until = reached.until - limits.LEASE_SECONDS + self._fates.shares.lease
        unchanged = replace(reached, sent=drain.cursor.position, rings=-1, until=until)
        self._inner.advance(drain.channel, drain.shard, unchanged)


class MortalTransport(_Mortal):
    """A ports.Transport."""

    def send(self, posts: Iterable[Post], *, within: float) -> Iterator[tuple[str, Delivery]]:
        drain = self._fates.drain
        if drain is not None and not drain.dead and self._fates.is_last():
            some = islice(posts, self._fates.number(LAST_SENT))
            for _ in self._inner.send(some, within=within):
                pass  # sent, and nobody hears of the outcome
        self._fates.step()
        yield from self._inner.send(posts, within=within)


def quietly(killed: Callable[..., Any]) -> Callable[..., Any]:
    """A Lambda handler whose process may be killed: to its caller it has failed."""

    def handler(event: Any, context: Any) -> Any:
        try:
            return killed(event, context)
        except Killed:
            raise RuntimeError("killed") from None

    return handler


def hush_killed_threads() -> None:
    """Do not print that the thread of an HTTP request was killed; its client sees it."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not Killed:
            before(arguments)

    threading.excepthook = hook
