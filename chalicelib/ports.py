"""What the core asks of the world, as Protocols; the docstrings carry the guarantees."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Protocol, TypeVar

from chalicelib.model import Connection, Delivery, Left, Membership, Post, Subscription

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

    def identify(self, connection_id: str, *, dialect: str, user: str) -> bool:
        """Give an open connection its dialect and user, once; False: it has them or is not open."""
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
        """Shut a connection to everything but its removal; what it is, None if it is unknown."""
        ...

    def remove_connection(self, connection_id: str) -> Connection | None:
        """Delete a connection; what it was, to whoever deleted it, and None to everybody else."""
        ...

    def connections(self) -> Iterator[Sequence[Connection]]:
        """Every connection, a page at a time."""
        ...

    # -- Subscriptions

    def put_subscription(self, subscription: Subscription) -> bool:
        """Store a connection's row in a channel, unless one of the same or a higher order is."""
        ...

    def remove_subscription(self, subscription: Subscription) -> None:
        """Delete the row of this connection in this channel, unless a higher order put it there."""
        ...

    def remove_subscriptions(self, subscriptions: Iterable[Subscription]) -> None:
        """Delete rows whatever their order: for a connection that is no more."""
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


class Parallel(Protocol):
    """``map`` that may run its calls at the same time, a bounded number of them; results in order.

    The first exception, if any, is raised when all calls have ended.
    """

    def __call__(self, function: Callable[[_A], _R], items: Sequence[_A], /) -> list[_R]: ...
