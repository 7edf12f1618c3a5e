"""The store and the streams in memory: one lock, one dict a kind of item."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import RLock
from typing import TypeVar

from chalicelib import limits
from chalicelib.model import (
    Connection,
    Cursor,
    Head,
    Identity,
    Left,
    Membership,
    Page,
    Position,
    Slot,
    Subscription,
)
from chalicelib.ports import Claim, ClaimState, Flip, Reached, Store, Streams, Version, Write

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

    def identify(self, connection_id: str, dialect: str, identity: Identity) -> bool:
        with self._lock:
            found = self._open(connection_id)
            if found is None or found.dialect:
                return False
            self._connections[connection_id] = replace(found, dialect=dialect, identity=identity)
            return True

    def renew(self, connection_id: str, identity: Identity) -> bool:
        with self._lock:
            found = self._open(connection_id)
            if found is None or found.user != identity.user:
                return False
            self._connections[connection_id] = replace(found, identity=identity)
            return True

    def connections_of(self, user: str) -> list[str]:
        with self._lock:
            return [c.id for c in self._connections.values() if c.user == user]

    def enter_channel(self, subscription: Subscription, *, most: int) -> Write:
        with self._lock:
            found = self._open(subscription.connection_id)
            refusal = Write.of(found, subscription, most=most)
            if found is None or refusal is not Write.DONE:
                return refusal
            entry = Membership(subscription.shard, subscription.order, self._clock())
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
                self._connections[connection_id] = replace(found, closing=True)
            return found

    def remove_connection(self, connection_id: str) -> Connection | None:
        with self._lock:
            return self._connections.pop(connection_id, None)

    BUCKETS = 1

    def connections(self, bucket: int, *, after: str = "") -> Iterator[Sequence[Connection]]:
        with self._lock:
            alive = [
                self._connections[each]
                for each in sorted(self._connections)
                if each > after and self._connections[each].expires_at > self._clock()
            ]
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

    def subscription(self, channel: str, shard: int, connection_id: str) -> Subscription | None:
        with self._lock:
            row = self._shard(channel, shard).get(connection_id)
            return row if row and row.expires_at > self._clock() else None

    def go_live(self, subscription: Subscription, position: Position) -> Flip:
        with self._lock:
            rows = self._shard(subscription.channel, subscription.shard)
            there = rows.get(subscription.connection_id)
            if there is None or there.order != subscription.order or not there.joining_since:
                return Flip.OVER
            if there.missed > position.offset:
                return Flip.BEHIND
            rows[there.connection_id] = replace(
                there,
                joining_since=0.0,
                missed=0,
                deliver_after=position.offset,
                epoch=position.epoch,
            )
            return Flip.LIVE

    def mark_missed(self, subscription: Subscription, offset: int) -> Subscription | None:
        with self._lock:
            rows = self._shard(subscription.channel, subscription.shard)
            there = rows.get(subscription.connection_id)
            if there is None or there.order != subscription.order or not there.joining_since:
                return there
            rows[there.connection_id] = replace(there, missed=max(there.missed, offset))
            return rows[there.connection_id]

    def remove_subscription(self, subscription: Subscription) -> None:
        with self._lock:
            rows = self._shard(subscription.channel, subscription.shard)
            there = rows.get(subscription.connection_id)
            if there is not None and there.order <= subscription.order:
                del rows[subscription.connection_id]

    def rest(self, subscription: Subscription) -> None:
        with self._lock:
            rows = self._shard(subscription.channel, subscription.shard)
            there = rows.get(subscription.connection_id)
            if there is not None:
                rows[there.connection_id] = replace(
                    there,
                    token_ends_at=subscription.token_ends_at,
                    skip_after=subscription.skip_after,
                )

    def remove_rows(self, connections: Iterable[Connection]) -> None:
        with self._lock:
            for connection in connections:
                for row in connection.subscriptions:
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


@dataclass(slots=True)
class _Stream:
    head: Head
    expires_at: float
    slots: dict[int, Slot] = field(default_factory=dict)
    version: Version | None = None


@dataclass(slots=True)
class _Held:
    cursor: Cursor = field(default_factory=lambda: Cursor(0, "", 0))
    holder: str = ""
    until: float = 0.0


@dataclass(slots=True)
class _Claimed:
    digest: str
    until: float
    expires_at: float
    position: Position | None = None


class MemoryStreams:
    """A ports.Streams that lives as long as the object."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = RLock()
        self._streams: dict[str, _Stream] = {}
        self._cursors: dict[tuple[str, int], _Held] = {}
        self._claims: dict[tuple[str, str], _Claimed] = {}

    # -- Streams

    def _alive(self, channel: str) -> _Stream | None:
        found = self._streams.get(channel)
        return found if found and found.expires_at > self._clock() else None

    def allocate(
        self, channel: str, epoch: str, *, keep: float, version: Version | None = None
    ) -> Head | None:
        with self._lock:
            self.begin(channel, epoch, keep=keep)
            stream, now = self._streams[channel], self._clock()
            seen = stream.version
            if version and seen and seen.epoch == version.epoch and seen.number >= version.number:
                return None
            head = stream.head
            stream.head = replace(head, top=head.top + 1, at=now, prior_at=head.at)
            stream.expires_at = now + keep
            stream.version = version or seen
            return stream.head

    def write(self, channel: str, slot: Slot) -> bool:
        with self._lock:
            slots = self._streams[channel].slots
            there = slots.get(slot.offset)
            if there is not None and there.expires_at > self._clock():
                return there == slot and slot.publication is not None
            slots[slot.offset] = slot
            return True

    def head(self, channel: str) -> Head | None:
        with self._lock:
            found = self._alive(channel)
            return found.head if found else None

    def begin(self, channel: str, epoch: str, *, keep: float) -> Head:
        with self._lock:
            found = self._alive(channel)
            if found is None:
                slots = self._streams[channel].slots if channel in self._streams else {}
                found = _Stream(Head(0, epoch, at=0), self._clock() + keep, slots)
                self._streams[channel] = found
            return found.head

    def newest(self, channel: str, *, after: int, limit: int) -> Page:
        with self._lock:
            found = self._alive(channel)
            if found is None:
                return Page(None, ())
            slots = [found.slots[offset] for offset in sorted(found.slots) if offset > after]
            alive = [slot for slot in slots[-limit:] if slot.epoch == found.head.epoch]
            return Page(found.head, tuple(alive))

    def oldest(self, channel: str, *, after: int, limit: int) -> Page:
        with self._lock:
            there = self._streams.get(channel)
            slots = there.slots if there else {}
            offsets = [offset for offset in sorted(slots) if offset > after]
            head = self.head(channel) if len(offsets) < limit else None
            return Page(head, tuple(slots[offset] for offset in offsets[:limit]))

    def below(self, channel: str, *, before: int, after: int, limit: int) -> Page:
        with self._lock:
            there = self._streams.get(channel)
            slots = there.slots if there else {}
            offsets = [offset for offset in sorted(slots) if after < offset < before]
            return Page(None, tuple(slots[offset] for offset in offsets[-limit:]))

    def remove_history(self, channel: str) -> None:
        with self._lock:
            found = self._alive(channel)
            if found:
                found.head = replace(found.head, floor=found.head.top)

    def delete_expired(self) -> None:
        """Delete the slots that have expired, as DynamoDB does sooner or later."""
        with self._lock:
            for stream in self._streams.values():
                for slot in list(stream.slots.values()):
                    if slot.expires_at <= self._clock():
                        del stream.slots[slot.offset]

    # -- Cursors

    def _held(self, channel: str, shard: int) -> _Held:
        return self._cursors.setdefault((channel, shard), _Held())

    def cursor(self, channel: str, shard: int) -> Cursor:
        with self._lock:
            return self._held(channel, shard).cursor

    def take(self, channel: str, shard: int, holder: str, *, until: float) -> Cursor | None:
        with self._lock:
            held = self._held(channel, shard)
            held.cursor = replace(held.cursor, rings=held.cursor.rings + 1)
            if held.holder not in ("", holder) and held.until > self._clock():
                return None
            held.holder, held.until = holder, until
            return held.cursor

    def advance(self, channel: str, shard: int, reached: Reached) -> Cursor | None:
        with self._lock:
            held = self._held(channel, shard)
            if held.holder != reached.holder:
                return None
            held.cursor = replace(
                held.cursor,
                sent=reached.sent.offset,
                epoch=reached.sent.epoch,
            )
            if held.cursor.rings <= reached.rings:
                held.holder = ""
                return None
            held.until = reached.until
            return held.cursor

    # -- Idempotency keys

    def claim(self, channel: str, key: str, digest: str) -> Claim:
        with self._lock:
            now, found = self._clock(), self._claims.get((channel, key))
            state = ClaimState.NEW
            if found and found.expires_at > now:
                if found.digest != digest:
                    return Claim(ClaimState.OTHER_BODY)
                if found.position:
                    return Claim(ClaimState.DONE, found.position)
                if found.until > now:
                    return Claim(ClaimState.BUSY)
                state = ClaimState.TAKEN_OVER
            self._claims[channel, key] = _Claimed(
                digest,
                until=now + limits.IDEMPOTENCY_CLAIM_SECONDS,
                expires_at=now + limits.IDEMPOTENCY_SECONDS,
            )
            return Claim(state)

    def complete(self, channel: str, key: str, digest: str, position: Position) -> None:
        with self._lock:
            until = self._clock() + limits.IDEMPOTENCY_SECONDS
            self._claims[channel, key] = _Claimed(digest, until, until, position)


def _pages(rows: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while page := list(islice(iterator, size)):
        yield page


def _conforms(store: MemoryStore, streams: MemoryStreams) -> tuple[Store, Streams]:
    return store, streams
