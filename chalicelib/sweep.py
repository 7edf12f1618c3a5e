"""What nobody may be there to do: a little of it every minute, taken up where it was left.

`$disconnect` may never come and a process may die at any point, so the sweep visits every
connection: it sends the announced ping, which also keeps idle sockets open, forgets what is gone,
closes again what could not be closed, and drains shards that were not told to the end.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

import msgspec

from chalicelib import limits, logs
from chalicelib.channels import Channels
from chalicelib.connections import Connections
from chalicelib.errors import DisconnectCode
from chalicelib.fanout import Fanout
from chalicelib.model import Connection, Delivery, Disconnect, Post
from chalicelib.ports import Store, Transport
from chalicelib.protocol import DIALECTS

FACT = "sweep"


class Place(msgspec.Struct):
    """Where the next sweep goes on: in which bucket, after which connection."""

    bucket: int = 0
    after: str = ""


@dataclass(slots=True)
class Swept:
    """What one sweep did, for its log line."""

    visited: int = 0
    gone: int = 0
    closed: int = 0
    drained: int = 0
    channels: set[str] = field(default_factory=set)


class Sweep:
    """Visits all connections at least twice a ping interval, a share of them every minute.

    Args:
        ping: Seconds between pings as announced to clients; 0: none was announced.
    """

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        transport: Transport,
        connections: Connections,
        fanout: Fanout,
        channels: Channels,
        ping: int,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._transport = transport
        self._connections = connections
        self._fanout = fanout
        self._channels = channels
        self._ping = ping
        self._clock = clock

    def run(self) -> Swept:
        """Sweep one share of the connections, for at most ``limits.SWEEP_SECONDS``."""
        stop_at = self._clock() + limits.SWEEP_SECONDS
        noted = self._store.fact(FACT)
        place = msgspec.json.decode(noted, type=Place) if noted else Place()
        swept = Swept()
        round_trip = (self._ping or limits.SWEEP_ROUND_SECONDS) / 2
        buckets = min(
            ceil(self._store.BUCKETS * limits.SWEEP_EVERY_SECONDS / round_trip), self._store.BUCKETS
        )
        for _ in range(buckets):
            place = self._bucket(place, stop_at, swept)
            if self._clock() >= stop_at:
                break
        self._store.note_fact(FACT, msgspec.json.encode(place).decode())
        self._drain(swept, stop_at)
        logs.info(
            "swept",
            visited=swept.visited,
            gone=swept.gone,
            closed=swept.closed,
            drained=swept.drained,
        )
        return swept

    def _bucket(self, place: Place, stop_at: float, swept: Swept) -> Place:
        """Visit the rest of a bucket, or as much as there is time for; where to go on."""
        for page in self._store.connections(place.bucket, after=place.after):
            self._visit(page, swept)
            if self._clock() >= stop_at:
                return Place(place.bucket, page[-1].id)
        return Place((place.bucket + 1) % self._store.BUCKETS)

    def _visit(self, page: Sequence[Connection], swept: Swept) -> None:
        closing = [c.id for c in page if c.closing]
        pinged = [c.id for c in page if not c.closing and self._is_pinged(c)]
        others = [c.id for c in page if not c.closing and not self._is_pinged(c)]
        posts = (Post(each, (b"{}",)) for each in pinged)
        within = limits.FANOUT_SECONDS
        gone = [
            *_gone(self._transport.send(posts, within=within)),
            *_gone(self._transport.probe(others, within=within)),
        ]
        self._connections.forget(gone)
        self._connections.close(closing)
        swept.visited += len(page)
        swept.gone += len(gone)
        swept.closed += len(closing)
        over = self._clock() - limits.TOKEN_GRACE_SECONDS
        self._connections.cut(
            [c.id for c in page if not c.closing and 0 < c.identity.ends_at <= over],
            Disconnect.of(DisconnectCode.EXPIRED),
        )
        self._connections.cut(
            [c.id for c in page if self._has_died_joining(c)],
            Disconnect.of(DisconnectCode.INSUFFICIENT_STATE),
        )
        for connection in page:
            swept.channels.update(connection.channels)

    def _has_died_joining(self, connection: Connection) -> bool:
        """Whether a join was never finished: its client believes that it hears everything.

        Looks at rows that are old enough to be finished and young enough to be new since the last
        visits, so that each is looked at a few times at most.
        """
        youngest = self._clock() - limits.JOIN_SECONDS
        oldest = youngest - 2 * limits.SWEEP_ROUND_SECONDS
        for channel, entry in connection.channels.items():
            options = self._channels.find(channel)
            if options and options.keeps_history and oldest < entry.at <= youngest:
                row = self._store.subscription(channel, entry.shard, connection.id)
                if row and row.joining_since and row.joining_since <= youngest:
                    return True
        return False

    def _is_pinged(self, connection: Connection) -> bool:
        """Whether this client was told to expect pings: one that was not takes them amiss."""
        dialect = DIALECTS.get(connection.dialect)
        return bool(self._ping and dialect and dialect.needs_connect)

    def _drain(self, swept: Swept, stop_at: float) -> None:
        """Drain the shards of the visited channels that lag behind their streams."""
        for channel in swept.channels:
            options = self._channels.find(channel)
            if options is None or not options.keeps_history:
                continue
            for shard in self._fanout.lagging(channel):
                if self._clock() >= stop_at:
                    return
                swept.drained += self._fanout.drain(channel, shard) is not None


def _gone(outcomes: Iterable[tuple[str, Delivery]]) -> list[str]:
    return [connection_id for connection_id, outcome in outcomes if outcome is Delivery.GONE]
