"""What is stored, what clients have seen and where each process is: one hashable value.

The stream is a string, a character an offset, so that offset ``n`` is ``items[n - 1]``:
a digit is a publication (the publisher's number), ``FREE`` was allocated but not written,
``TOMBSTONE`` is a hole that a reader filled, ``EXPIRED`` a publication whose life is over.
The head's top offset is the string's length.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

FREE, TOMBSTONE, EXPIRED = ".", "x", "-"
JOINING, LIVE = "joining", "live"
OPEN, SILENT, GONE = "open", "silent", "gone"
CLOSING, DELETED = "closing", "deleted"
FRESH = -1
AWAY = -1


class Row(NamedTuple):
    """A subscription. ``missed`` is 0 where it is absent: offsets begin at 1."""

    state: str
    join: int
    after: int = 0
    missed: int = 0


class Connection(NamedTuple):
    """A connection: the gateway's view of it, its record, and its row in the one channel.

    ``gateway``: open; silent (the client left, the gateway still accepts posts); gone (410).
    ``record``: open, closing or deleted.
    ``command``: the channel map's last command id; 0 if the channel is not in the map.
    """

    client: int
    gateway: str = OPEN
    record: str = OPEN
    command: int = 0
    row: Row | None = None


class Client(NamedTuple):
    """A client: the connection it uses now, the subscribe it waits for or has, and its position.

    ``position`` is the highest offset it has seen, or was told as the place where it joined.
    """

    connection: int
    command: int = 1
    joined: bool = False
    position: int = FRESH


class Cursor(NamedTuple):
    """A shard's cursor. ``rung``: a ring came since the holder's last write that returned rings.

    Only whether the count of rings moved matters, so the model keeps that and not the count.
    """

    sent: int = 0
    holder: str = ""
    rung: bool = False


class Publisher(NamedTuple):
    kind: str
    name: str
    at: str
    n: int = 0


class Drain(NamedTuple):
    """A fan-out of the shard: ``batch`` is what it read in (``s``, ``t``], ``rows`` are due yet.

    ``ring`` is the offset that its ring came for: only a mutant looks at it.
    """

    kind: str
    name: str
    at: str
    ring: int = 0
    s: int = 0
    t: int = 0
    batch: tuple[int, ...] = ()
    rows: tuple[tuple[int, Row], ...] = ()


class Joiner(NamedTuple):
    """A handler of subscribe ``command``: its reply and posts have brought the client to ``t``."""

    kind: str
    connection: int
    command: int
    at: str
    since: int = FRESH
    t: int = FRESH
    batch: tuple[int, ...] = ()
    recovered: bool = False
    retries: int = 0


class Leaver(NamedTuple):
    """A handler of unsubscribe ``command``, or of $disconnect (``command`` 0)."""

    kind: str
    connection: int
    command: int
    at: str


Process: TypeAlias = "Publisher | Drain | Joiner | Leaver"


class Budget(NamedTuple):
    """How many more of each may happen."""

    cuts: int
    crashes: int
    expiries: int
    failures: int
    lost_rings: int
    repeated_rings: int
    lost_answers: int
    resubscribes: int
    unsubscribes: int
    expirations: int


class State(NamedTuple):
    """Everything. ``faulty``: something crashed, expired or was lost. ``wrong``: what is broken."""

    items: str
    cursor: Cursor
    connections: tuple[Connection, ...]
    clients: tuple[Client, ...]
    processes: tuple[Process, ...]
    bells: tuple[int, ...]
    budget: Budget
    started: int = 0
    faulty: bool = False
    wrong: str = ""


Step: TypeAlias = "tuple[str, State]"


def _identity(process: Process) -> tuple[object, ...]:
    return process[:3]


def moved(state: State, process: Process, to: Process | None) -> State:
    """The state in which a process is somewhere else, or has ended; the rest is as in ``state``."""
    others = [other for other in state.processes if other != process]
    if to is not None:
        others.append(to)
        others.sort(key=_identity)
    return state._replace(processes=tuple(others))


def started(state: State, process: Process) -> State:
    return state._replace(processes=tuple(sorted((*state.processes, process), key=_identity)))


def with_connection(state: State, number: int, connection: Connection) -> State:
    known = state.connections
    return state._replace(connections=(*known[:number], connection, *known[number + 1 :]))


def with_row(state: State, number: int, row: Row | None) -> State:
    return with_connection(state, number, state.connections[number]._replace(row=row))


def with_client(state: State, number: int, client: Client) -> State:
    known = state.clients
    return state._replace(clients=(*known[:number], client, *known[number + 1 :]))


def contiguous(items: str, since: int) -> int:
    """The last offset up to which nothing is free, reading from ``since``."""
    free = items.find(FREE, max(since, 0))
    return len(items) if free < 0 else free


def hole(items: str, since: int) -> int:
    """The first free offset below a written one, after ``since``; 0 if there is none."""
    free = contiguous(items, since)
    return free + 1 if free < len(items.rstrip(FREE)) else 0


def published(items: str, since: int, to: int) -> tuple[int, ...]:
    """The offsets in (``since``, ``to``] that hold a publication."""
    since = max(since, 0)
    return tuple(n for n, item in enumerate(items[since:to], since + 1) if item.isdigit())
