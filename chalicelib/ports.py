"""What the core asks of the world, as Protocols; the docstrings carry the guarantees."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from chalicelib.model import (
    Connection,
    Cursor,
    Delivery,
    Head,
    Identity,
    Left,
    Membership,
    Page,
    Position,
    Post,
    Report,
    Slot,
    Subscription,
)

_A = TypeVar("_A")
_R = TypeVar("_R")


class Transport(Protocol):
    """The way to connections: API Gateway's management API, or memory.

    Each verb takes many recipients, pulls them lazily and yields one ``(connection id, outcome)``
    a recipient, in any order; the caller exhausts the iterator. One recipient never delays or
    fails another: 429, 5xx and network errors are retried for that recipient with capped backoff
    and jitter until ``within`` seconds have passed since the call, then it is FAILED. No verb
    raises for a recipient.
    """

    def send(self, posts: Iterable[Post], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Post the frames of each recipient in order, recipients concurrently (at least once)."""
        ...

    def probe(self, ids: Iterable[str], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Ask whether each connection exists, without sending it anything."""
        ...

    def close(self, ids: Iterable[str], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Cut each connection; DELIVERED when it was cut now, GONE when it was cut before."""
        ...


class Write(Enum):
    """What became of a conditional write to a connection's channel map."""

    DONE = "done"
    STALE = "stale"  # a later command on this channel was there first
    SUBSCRIBED = "subscribed"  # the channel is in the map already
    FULL = "full"  # the map holds as many channels as it may
    NO_CONNECTION = "no connection"  # never connected, gone, or closing

    @classmethod
    def of(cls, connection: Connection | None, entering: Subscription, *, most: int) -> "Write":
        """What a subscription that would enter a connection's map meets there."""
        if connection is None or connection.closing:
            return cls.NO_CONNECTION
        if connection.newest_order(entering.channel) > entering.order:
            return cls.STALE
        if entering.channel in connection.channels:
            return cls.SUBSCRIBED
        return cls.FULL if len(connection.channels) >= most else cls.DONE


class Flip(Enum):
    """What became of a join that was to go live."""

    LIVE = "live"
    BEHIND = "behind"  # it missed something after the position: read on, and try again
    OVER = "over"  # the row is gone, or another join's


class Store(Protocol):
    """Who is connected and who listens to what: DynamoDB, or memory.

    Every read is strongly consistent and leaves out what has expired by now, whether or not it
    was deleted yet. Every write that decides something is one conditional write: of several that
    contradict each other exactly one is done.
    """

    # -- Connections

    def add_connection(self, connection: Connection) -> bool:
        """Store a new connection; False when its id is taken."""
        ...

    def connection(self, connection_id: str) -> Connection | None:
        """The connection, unless it is unknown, gone or expired."""
        ...

    def identify(self, connection_id: str, dialect: str, identity: Identity) -> bool:
        """Give an open connection its dialect and identity, once.

        False: it has a dialect already, or is not open.
        """
        ...

    def renew(self, connection_id: str, identity: Identity) -> bool:
        """Replace the identity of an open connection by one of the same user; False: it is not."""
        ...

    def connections_of(self, user: str) -> list[str]:
        """The ids of a user's connections; of some that are no more, maybe."""
        ...

    def enter_channel(self, subscription: Subscription, *, most: int) -> Write:
        """Put a channel into the map of its connection, which holds at most ``most``.

        Done only if the connection is open, is not in the channel, and has not left it by a
        command with a higher order. Gives the connection the subscription's dialect
        if it has none yet.
        """
        ...

    def leave_channel(
        self, connection_id: str, channel: str, left: Left, *, forget: Iterable[str] = ()
    ) -> Membership | None:
        """Take a channel out of the map and remember the order that did; the entry that was there.

        An entry or a memory with a higher order is not touched, and None is returned.
        ``forget``: other channels, whose leaving need not be remembered any more.
        """
        ...

    def mark_closing(self, connection_id: str) -> Connection | None:
        """Shut a connection to everything but its removal; what it was, None if it is unknown."""
        ...

    def remove_connection(self, connection_id: str) -> Connection | None:
        """Delete a connection; what it was, to whoever deleted it, and None to everybody else."""
        ...

    # Connections are kept in so many buckets, by their id.
    BUCKETS: int

    def connections(self, bucket: int, *, after: str = "") -> Iterator[Sequence[Connection]]:
        """Every connection of a bucket, by rising id above ``after``, a page at a time."""
        ...

    # -- Subscriptions

    def put_subscription(self, subscription: Subscription) -> bool:
        """Store a connection's row in a channel, unless one of the same or a higher order is."""
        ...

    def subscription(self, channel: str, shard: int, connection_id: str) -> Subscription | None:
        """One row, unless it is not there or has expired."""
        ...

    def go_live(self, subscription: Subscription, position: Position) -> Flip:
        """Turn the row of this join from joining to live, from a position on."""
        ...

    def mark_missed(self, subscription: Subscription, offset: int) -> Subscription | None:
        """Note that a joining row was not sent what goes up to an offset.

        The row as it is now: still joining, live, or another join's, of which the last two were
        not changed; None when it is no more.
        """
        ...

    def remove_subscription(self, subscription: Subscription) -> None:
        """Delete the row of this connection in this channel, unless a higher order put it there."""
        ...

    def rest(self, subscription: Subscription) -> None:
        """Give a row that is there the ``token_ends_at`` and ``skip_after`` of this one."""
        ...

    def remove_rows(self, connections: Iterable[Connection]) -> None:
        """Delete all rows of connections that are no more, whatever their order."""
        ...

    def subscriptions(self, channel: str, shard: int) -> Iterator[Sequence[Subscription]]:
        """Every row of a shard of a channel, a page at a time."""
        ...

    # -- Facts about the deployment

    def fact(self, name: str) -> str | None:
        """What was noted under a name, such as the management endpoint."""
        ...

    def note_fact(self, name: str, value: str) -> None:
        """Note a value under a name; the last one stays."""
        ...


@dataclass(frozen=True, slots=True)
class Version:
    """A publisher's own count of a document: what is not above the last one seen is dropped."""

    number: int
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the holder of a shard has come.

    Attributes:
        sent: The last offset that every live subscription was handed.
        rings: How often the shard had been rung before the stream was read.
        until: When the lease ends if the shard stays held.
    """

    holder: str
    sent: Position
    rings: int
    until: float


class ClaimState(Enum):
    """What a publisher meets that claims an idempotency key."""

    NEW = "new"
    TAKEN_OVER = "taken over"  # from a publisher that died, maybe after it had published
    BUSY = "busy"  # another publisher is at it
    DONE = "done"
    OTHER_BODY = "other body"


@dataclass(frozen=True, slots=True)
class Claim:
    """The state of a key, and where its publication went, once it is done."""

    state: ClaimState
    position: Position | None = None


class Streams(Protocol):
    """What was said in channels, how far each shard was told, and what must not be said twice.

    Offsets of a stream start at 1 and rise by 1 in one life (epoch). Reads are strongly
    consistent; each write is one conditional write. Expired slots are returned, with their
    expiry: to a reader they mean something else than slots that never were.
    """

    # -- Streams

    def allocate(
        self, channel: str, epoch: str, *, keep: float, version: Version | None = None
    ) -> Head | None:
        """Allocate the next offset: the head, with it on top.

        A head that is missing or expired begins a new life, named ``epoch``. It is kept for
        ``keep`` seconds more. None when a version is given and one as high was seen.
        """
        ...

    def write(self, channel: str, slot: Slot) -> bool:
        """Put a slot at its offset; False when something stands there."""
        ...

    def head(self, channel: str) -> Head | None:
        """The head, unless it is missing or expired."""
        ...

    def begin(self, channel: str, epoch: str, *, keep: float) -> Head:
        """The head, after creating it, with nothing allocated, if it is missing or expired."""
        ...

    def newest(self, channel: str, *, after: int, limit: int) -> Page:
        """The head, and the newest slots above an offset, of the head's life, at most ``limit``."""
        ...

    def oldest(self, channel: str, *, after: int, limit: int) -> Page:
        """The oldest slots above an offset, at most ``limit``, of any life; the head if reached."""
        ...

    def below(self, channel: str, *, before: int, after: int, limit: int) -> Page:
        """The newest slots between two offsets, both excluded, at most ``limit``; no head."""
        ...

    def remove_history(self, channel: str) -> None:
        """Raise the floor to the top, so that nothing that was published can be read."""
        ...

    # -- Cursors

    def cursor(self, channel: str, shard: int) -> Cursor:
        """How far a shard is; 0 in no life if it was never drained."""
        ...

    def take(self, channel: str, shard: int, holder: str, *, until: float) -> Cursor | None:
        """Ring a shard and hold it until then; None, and rung all the same, if another holds it."""
        ...

    def advance(self, channel: str, shard: int, reached: Reached) -> Cursor | None:
        """Note how far a held shard is, and let go of it.

        None when it was let go, or is not held by this holder any more. If it was rung more often
        than the holder knows it stays held, and the cursor is returned: look again.
        """
        ...

    # -- Idempotency keys

    def claim(self, channel: str, key: str, digest: str) -> Claim:
        """Claim a key, for a body of this digest, for ``limits.IDEMPOTENCY_CLAIM_SECONDS``."""
        ...

    def complete(self, channel: str, key: str, digest: str, position: Position) -> None:
        """Note where the publication of a claimed key went, for minutes."""
        ...


class Dispatcher(Protocol):
    """Gets the shards of a channel drained: by this process, or by a worker behind a queue."""

    def ring(self, channel: str, shards: int) -> Report:
        """Have every shard drained at least once after this call began.

        The outcomes of what was drained within the call. A ring carries no data and may come
        twice, late, or in any order; one that is lost is made good by the next, or by the sweep.
        """
        ...


class Parallel(Protocol):
    """``map`` that may run its calls at the same time, a bounded number of them; results in order.

    The first exception, if any, is raised when all calls have ended.
    """

    def __call__(self, function: Callable[[_A], _R], items: Sequence[_A], /) -> list[_R]: ...
