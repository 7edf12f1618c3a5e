"""The store in memory, for unit tests: one lock, one dict a kind of item."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from threading import RLock
from typing import TypeVar

from chalicelib.model import Connection, Left, Membership, Subscription
from chalicelib.ports import Store, Write

_T = TypeVar("_T")


class MemoryStore:
    """A ports.Store that lives as long as the object."""

    def __init__(self, clock: Callable[[], float], *, page: int = 100) -> None:
        self._clock = clock
        self._page = page
        self._lock = RLock()
        self._connections: dict[str, Connection] = {}
        self._subscriptions: dict[tuple[str, int], dict[str, Subscription]] = {}
        self._facts: dict[str, str] = {}

    # -- Connections

    def add_connection(self, connection: Connection) -> bool:
        with self._lock:
            return self._connections.setdefault(connection.id, connection) is connection

    def connection(self, connection_id: str) -> Connection | None:
        with self._lock:
            found = self._connections.get(connection_id)
            return found if found and found.expires_at > self._clock() else None

    def _open(self, connection_id: str) -> Connection | None:
        found = self.connection(connection_id)
        return None if found is None or found.closing else found

    def identify(self, connection_id: str, *, dialect: str, user: str) -> bool:
        with self._lock:
            found = self._open(connection_id)
            if found is None or found.dialect:
                return False
            self._connections[connection_id] = replace(found, dialect=dialect, user=user)
            return True

    def enter_channel(self, subscription: Subscription, *, most: int) -> Write:
        with self._lock:
            found = self._open(subscription.connection_id)
            refusal = Write.of(found, subscription, most=most)
            if found is None or refusal is not Write.DONE:
                return refusal
            entry = Membership(subscription.shard, subscription.order)
            self._connections[found.id] = replace(
                found,
                dialect=found.dialect or subscription.dialect,
                channels={**found.channels, subscription.channel: entry},
                left={name: v for name, v in found.left.items() if name != subscription.channel},
            )
            return Write.DONE

    def leave_channel(
        self, connection_id: str, channel: str, left: Left, *, forget: Iterable[str] = ()
    ) -> Membership | None:
        with self._lock:
            found = self.connection(connection_id)
            if found is None or found.newest_order(channel) > left.order:
                return None
            drop = {channel, *forget}
            self._connections[connection_id] = replace(
                found,
                channels={name: v for name, v in found.channels.items() if name != channel},
                left={name: v for name, v in found.left.items() if name not in drop}
                | {channel: left},
            )
            return found.channels.get(channel)

    def mark_closing(self, connection_id: str) -> Connection | None:
        with self._lock:
            found = self._connections.get(connection_id)
            if found is not None:
                found = replace(found, closing=True)
                self._connections[connection_id] = found
            return found

    def remove_connection(self, connection_id: str) -> Connection | None:
        with self._lock:
            return self._connections.pop(connection_id, None)

    def connections(self) -> Iterator[Sequence[Connection]]:
        with self._lock:
            alive = [c for c in self._connections.values() if c.expires_at > self._clock()]
        return _pages(alive, self._page)

    # -- Subscriptions

    def _shard(self, channel: str, shard: int) -> dict[str, Subscription]:
        return self._subscriptions.setdefault((channel, shard), {})

    def put_subscription(self, subscription: Subscription) -> bool:
        with self._lock:
            rows = self._shard(subscription.channel, subscription.shard)
            there = rows.get(subscription.connection_id)
            if there is not None and there.order >= subscription.order:
                return False
            rows[subscription.connection_id] = subscription
            return True

    def remove_subscription(self, subscription: Subscription) -> None:
        with self._lock:
            rows = self._shard(subscription.channel, subscription.shard)
            there = rows.get(subscription.connection_id)
            if there is not None and there.order <= subscription.order:
                del rows[subscription.connection_id]

    def remove_subscriptions(self, subscriptions: Iterable[Subscription]) -> None:
        with self._lock:
            for row in subscriptions:
                self._shard(row.channel, row.shard).pop(row.connection_id, None)

    def subscriptions(self, channel: str, shard: int) -> Iterator[Sequence[Subscription]]:
        with self._lock:
            rows = self._shard(channel, shard).values()
            alive = [row for row in rows if row.expires_at > self._clock()]
        return _pages(alive, self._page)

    # -- Facts about the deployment

    def fact(self, name: str) -> str | None:
        with self._lock:
            return self._facts.get(name)

    def note_fact(self, name: str, value: str) -> None:
        with self._lock:
            self._facts[name] = value


def _pages(rows: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while page := list(islice(iterator, size)):
        yield page


def _conforms(store: MemoryStore) -> Store:
    return store
