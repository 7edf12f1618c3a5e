"""To every subscription of a channel, with an outcome for each recipient.

Where a channel keeps history, nobody is handed a publication: whoever is rung drains the shard,
which sends everything between the shard's cursor and the end of the stream. docs/delivery.md
says why the steps stand in this order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chalicelib import limits, logs
from chalicelib.channels import Channels, Options
from chalicelib.connections import Connections
from chalicelib.errors import DisconnectCode
from chalicelib.model import (
    Cursor,
    Delivery,
    Disconnect,
    Position,
    Post,
    Publication,
    Report,
    Subscription,
)
from chalicelib.ports import Parallel, Reached, Store, Streams, Transport
from chalicelib.protocol import DIALECTS
from chalicelib.protocol.commands import Push
from chalicelib.streams import Log, Stretch


class Fanout:
    """Sends to channels. A recipient never hurts a publication or another recipient:

    one that is gone is forgotten; one that cannot be reached within the deadline loses its
    subscriptions and is cut (3008), so that it comes back; everybody else has been sent to by then.
    """

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        streams: Streams,
        log: Log,
        transport: Transport,
        connections: Connections,
        channels: Channels,
        parallel: Parallel,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._streams = streams
        self._log = log
        self._transport = transport
        self._connections = connections
        self._channels = channels
        self._parallel = parallel
        self._clock = clock
        self._new_id = new_id

    # -- At once, without a stream

    def send(
        self, channel: str, message: Push, *, to: Callable[[Subscription], bool] = lambda _: True
    ) -> Report:
        """Send a message to every subscription of a channel that ``to`` picks."""
        expired: list[str] = []
        shards = range(self._channels.options(channel).all_shards)
        posts = self._once(channel, message, to, expired)
        return self._send(channel, shards, posts, expired=expired)

    def _once(
        self,
        channel: str,
        message: Push,
        to: Callable[[Subscription], bool],
        expired: list[str],
    ) -> Iterator[Post]:
        """A post a subscription; the message is encoded once a dialect."""
        frames: dict[str, tuple[bytes, ...]] = {}
        for shard in range(self._channels.options(channel).all_shards):
            for page in self._store.subscriptions(channel, shard):
                for row in page:
                    if row.dialect not in frames:
                        frames[row.dialect] = DIALECTS[row.dialect].frames([message])
                    if 0 < row.skip_after <= self._clock():
                        expired.append(row.connection_id)
                    elif to(row):
                        yield Post(row.connection_id, frames[row.dialect])

    # -- What a shard is due

    def drain(self, channel: str, shard: int) -> Report | None:
        """Ring a shard, and send what it is due; None: whoever holds it just now will see to that.

        Raises: what the store raises; the shard is free again then, or when its lease expires.
        """
        options = self._channels.options(channel)
        holder, stop_at = self._new_id(), self._clock() + limits.DRAIN_SECONDS
        cursor = self._streams.take(channel, shard, holder, until=self._lease())
        if cursor is None:
            return None
        total = Report()
        try:
            while cursor is not None:
                step = self._step(channel, shard, options, cursor)
                total += step.report
                rings = cursor.rings if step.done else -1
                if self._clock() >= stop_at:
                    rings = _ANY_RINGS
                reached = Reached(holder, step.sent, rings, self._lease())
                cursor = self._streams.advance(channel, shard, reached)
        except BaseException:
            if cursor is not None:
                self._let_go(channel, shard, holder, cursor)
            raise
        return total

    def lagging(self, channel: str) -> list[int]:
        """The shards that were not told everything that their stream holds."""
        head = self._streams.head(channel)
        if head is None or not head.top:
            return []
        shards = range(self._channels.options(channel).all_shards)
        cursors = [self._streams.cursor(channel, shard) for shard in shards]
        return [s for s, c in zip(shards, cursors, strict=True) if c.position != head.position]

    def _lease(self) -> float:
        return self._clock() + limits.LEASE_SECONDS

    def _let_go(self, channel: str, shard: int, holder: str, cursor: Cursor) -> None:
        reached = Reached(holder, cursor.position, _ANY_RINGS, self._lease())
        try:
            self._streams.advance(channel, shard, reached)
        except Exception:  # noqa: BLE001 the first failure is the one to raise; the lease expires
            logs.failure("shard_not_released", channel=channel, shard=shard)

    def _step(self, channel: str, shard: int, options: Options, cursor: Cursor) -> "_Step":
        """Send one stretch."""
        stretch, head = self._log.backlog(channel, options, cursor.position)
        began = cursor.sent if cursor.epoch == head.epoch else 0
        due = _Due(channel, shard, began, head.epoch, stretch)
        report = Report()
        if stretch.upto > began:
            posts = self._posts(due)
            report = self._send(channel, [shard], posts, stale=due.stale, expired=due.expired)
        done = stretch.upto >= head.top or stretch.upto == began
        return _Step(report, Position(stretch.upto, head.epoch), done)

    def _posts(self, due: "_Due") -> Iterator[Post]:
        """A post a live subscription that is due something. Read only after the stream was."""
        for page in self._store.subscriptions(due.channel, due.shard):
            joining = [row for row in page if row.joining_since]
            joined = self._parallel(lambda row: self._pass_over(due, row), joining)
            for row in (*(row for row in page if not row.joining_since), *filter(None, joined)):
                if 0 < row.skip_after <= self._clock():
                    due.expired.append(row.connection_id)
                elif frames := due.frames(row):
                    yield Post(row.connection_id, frames)

    def _pass_over(self, due: "_Due", row: Subscription) -> Subscription | None:
        """Let a joining row know what it misses; the row, if it has gone live meanwhile."""
        there = self._store.mark_missed(row, due.stretch.upto)
        if there is None or not there.joining_since:
            return there
        if self._clock() - there.joining_since >= limits.JOIN_SECONDS:
            due.stale.append(row.connection_id)
        return None

    # -- Outcomes

    def _send(
        self,
        channel: str,
        shards: Iterable[int],
        posts: Iterator[Post],
        *,
        stale: Sequence[str] = (),
        expired: Sequence[str] = (),
    ) -> Report:
        delivered, gone, failed = 0, [], []
        for connection_id, outcome in self._transport.send(posts, within=limits.FANOUT_SECONDS):
            match outcome:
                case Delivery.DELIVERED:
                    delivered += 1
                case Delivery.GONE:
                    gone.append(connection_id)
                case Delivery.FAILED:
                    failed.append(connection_id)
        self._connections.forget(gone)
        self._connections.cut(failed, Disconnect.of(DisconnectCode.SLOW))
        self._connections.cut(stale, Disconnect.of(DisconnectCode.INSUFFICIENT_STATE))
        self._connections.cut(expired, Disconnect.of(DisconnectCode.EXPIRED))
        ended = (*gone, *stale, *expired)
        rows = [_row_of(channel, shard, each) for shard in shards for each in ended]
        self._parallel(self._store.remove_subscription, rows)
        return Report(delivered, len(gone), len(failed))


def _row_of(channel: str, shard: int, connection_id: str) -> Subscription:
    """A row that ends, whatever it holds: with its connection, or left behind by one.

    Whoever removed the connection knew its rows, but may have died before they were removed.
    """
    return Subscription(channel, shard, connection_id, _ANY_ORDER, dialect="", expires_at=0)


_ANY_RINGS = 2**62  # more than a shard is ever rung
_ANY_ORDER = 2**63  # above that of every command


@dataclass(frozen=True, slots=True)
class _Step:
    """What came of one stretch; ``done``: for now there is no more to send."""

    report: Report
    sent: Position
    done: bool


class _Due:
    """What the rows of a shard are due of a stretch; who cannot be served is ``stale``."""

    def __init__(self, channel: str, shard: int, sent: int, epoch: str, stretch: Stretch) -> None:
        self.channel = channel
        self.shard = shard
        self.stretch = stretch
        self.stale: list[str] = []
        self.expired: list[str] = []
        self._sent = sent
        self._epoch = epoch
        self._excludes = any(each.exclude for each in stretch.publications)
        self._encoded: dict[tuple[str, bool, int, str], tuple[bytes, ...]] = {}

    def frames(self, row: Subscription) -> tuple[bytes, ...]:
        """The frames for a live row, encoded once for all that are due the same."""
        start = max(self._sent, row.deliver_after)
        if (row.epoch and row.epoch != self._epoch) or start + 1 < self.stretch.gap_below:
            self.stale.append(row.connection_id)
            return ()
        client = row.connection_id if self._excludes else ""
        key = (row.dialect, row.batch, start, client)
        if key not in self._encoded:
            dialect = DIALECTS[row.dialect]
            self._encoded[key] = dialect.publications(
                self.channel, self._after(start, client), batch=row.batch
            )
        return self._encoded[key]

    def _after(self, start: int, client: str) -> list[Publication]:
        return [
            each
            for each in self.stretch.publications
            if each.offset > start and not (client and each.exclude == client)
        ]
