"""Misbehaviour on demand: what a network and a cloud do to an application, made repeatable.

What befalls a connection depends on the seed, on the connection's place in the order of
connecting and on how many posts it has had, never on how connections interleave: the same seed
and the same client script meet the same fate.
"""

import random
import threading
from collections import deque
from dataclasses import dataclass, field, fields

POST_STATUSES = (410, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls one post: a delay in seconds, then a status instead of delivery, or a cut."""

    delay: float = 0.0
    status: int | None = None
    cut: bool = False


@dataclass(kw_only=True)
class Chaos:
    """A plan of misbehaviour; shares are from 0 to 1 and may be changed at any time.

    With the defaults nothing misbehaves.
    """

    seed: int = 0
    lose_disconnects: float = 0.0
    """Share of ``$disconnect``s that never come."""
    gone: float = 0.0
    """Share of posts answered 410 though the connection lives."""
    throttled: float = 0.0
    """Share of posts answered 429."""
    failed: float = 0.0
    """Share of posts answered 500."""
    unavailable: float = 0.0
    """Share of posts answered 503."""
    delayed: float = 0.0
    """Share of posts that are answered, and delivered, ``delay_seconds`` late."""
    delay_seconds: float = 0.2
    cut: float = 0.0
    """Share of posts that are answered 200, and lost as the socket is cut."""
    held: float = 0.0
    """Share of connections that behave as if the client never read."""
    restart_seconds: float = 0.0
    """The gateway restarts this often: every socket is cut and no ``$disconnect`` comes."""

    _scripted: dict[str | None, deque[int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lock: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False, compare=False
    )

    def answer_next(self, *statuses: int, connection_id: str | None = None) -> None:
        """Answer the next posts, of one connection or of any, with these statuses."""
        with self._lock:
            self._scripted.setdefault(connection_id, deque()).extend(statuses)

    def fate_of_post(self, connection_id: str, ordinal: int, post: int) -> Fate:
        """Decide the ``post``-th post to the ``ordinal``-th connection."""
        scripted = self._next_scripted(connection_id)
        if scripted is not None:
            return Fate(status=scripted)
        dice = random.Random(f"{self.seed} post {ordinal} {post}")
        delay = self.delay_seconds if dice.random() < self.delayed else 0.0
        statuses = zip(
            POST_STATUSES, (self.gone, self.throttled, self.failed, self.unavailable), strict=True
        )
        roll = dice.random()
        for status, share in statuses:
            if roll < share:
                return Fate(delay, status)
            roll -= share
        return Fate(delay, cut=dice.random() < self.cut)

    def loses_disconnect(self, ordinal: int) -> bool:
        """Decide whether the ``$disconnect`` of a connection never comes."""
        return random.Random(f"{self.seed} disconnect {ordinal}").random() < self.lose_disconnects

    def holds(self, ordinal: int) -> bool:
        """Decide whether a connection reads nothing from its start."""
        return random.Random(f"{self.seed} hold {ordinal}").random() < self.held

    def _next_scripted(self, connection_id: str) -> int | None:
        with self._lock:
            for key in (connection_id, None):
                if self._scripted.get(key):
                    return self._scripted[key].popleft()
        return None


def parse_chaos(text: str) -> Chaos:
    """Read ``seed=7,gone=0.01,delayed=0.1,delay_seconds=0.5``.

    Raises:
        ValueError: a key is unknown or a value is not a number.
    """
    known = {each.name: each.type for each in fields(Chaos) if each.init}
    plan = Chaos()
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            raise ValueError(f"--chaos: {key!r} is none of {', '.join(known)}")
        try:
            setattr(plan, key, int(value) if key == "seed" else float(value))
        except ValueError as exc:
            raise ValueError(f"--chaos: {key} needs a number, not {value!r}") from exc
    return plan
