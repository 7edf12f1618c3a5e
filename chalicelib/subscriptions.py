"""Entering and leaving channels, in whatever order the commands are handled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import structs

from chalicelib import limits
from chalicelib.channels import Channels, Options, shard_of
from chalicelib.connections import Connections
from chalicelib.errors import ClientError, DisconnectCode, ErrorCode
from chalicelib.model import (
    Connection,
    Disconnect,
    Left,
    Position,
    Post,
    Publication,
    Subscription,
)
from chalicelib.ports import Flip, Store, Write
from chalicelib.presence import Presence
from chalicelib.protocol import DIALECTS
from chalicelib.protocol.commands import (
    REJECT_UNRECOVERED,
    Subscribe,
    SubscribeResult,
    WirePublication,
    fitting,
)
from chalicelib.streams import Log, Recovery
from chalicelib.tokens import SubscriptionClaims


@dataclass(frozen=True, slots=True)
class Joining:
    """A join that is answered with ``result``, and then to be finished.

    ``rest``: publications that the reply has no room for. ``position``: where reply and rest end;
    None: the subscription is live already.
    """

    row: Subscription
    options: Options
    result: SubscribeResult
    position: Position | None = None
    rest: tuple[Publication, ...] = ()


class Subscriptions:
    """Keeps a connection's channel map and its rows in step: the row first, then the map.

    So a row without an entry can be left behind by a crash, which the connection's end cleans up,
    but never an entry without a row, which would be a client that waits for nothing.
    """

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        log: Log,
        connections: Connections,
        presence: Presence,
        channels: Channels,
        max_channels: int,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._log = log
        self._connections = connections
        self._presence = presence
        self._channels = channels
        self._max_channels = max_channels
        self._clock = clock
        self._sleep = sleep

    # -- Entering: the row joins, the reply is posted, the row goes live

    def begin(
        self,
        connection: Connection,
        dialect: str,
        order: int,
        ask: Subscribe,
        *,
        wait: float,
        claims: SubscriptionClaims | None = None,
    ) -> Joining:
        """Put a connection into a channel, up to the point where it is told so.

        ``claims``: of the subscription token that lets it in, if it needed one.

        Where it is in the channel already, an unsubscribe that was sent before may still be on
        its way: it is awaited for ``wait`` seconds.

        Raises: ClientError 105 in the channel already, 106 in too many, 112 unrecoverable, 100
            when a later command on the channel was handled before, or the connection is no more.
        """
        options = self._channels.options(ask.channel)
        row = Subscription(
            channel=ask.channel,
            shard=shard_of(connection.id, options.shards),
            connection_id=connection.id,
            order=order,
            dialect=dialect,
            expires_at=connection.expires_at,
            batch=ask.batch,
            user=connection.user,
            info=_info(connection, claims),
            token_ends_at=claims.expire_at if claims else 0.0,
            skip_after=rests_until(connection.identity.ends_at, claims.expire_at if claims else 0),
            hears_joins=options.force_push_join_leave or ask.join_leave,
            joining_since=self._clock() if options.keeps_history else 0.0,
        )
        self._enter(row, connection, wait)
        life = self._life(claims)
        if not options.keeps_history:
            return Joining(row, options, life)
        try:
            return self._read(row, options, ask, life)
        except Exception:
            self.leave(connection, ask.channel, order)
            raise

    def _enter(self, row: Subscription, connection: Connection, wait: float) -> None:
        looks = self._await_leave(row, connection, int(wait / limits.REORDER_LOOK_SECONDS))
        if not self._store.put_subscription(row):
            raise _overtaken()
        most = self._max_channels
        while (write := self._store.enter_channel(row, most=most)) is Write.SUBSCRIBED and looks:
            looks -= 1
            self._sleep(limits.REORDER_LOOK_SECONDS)
        if write is Write.DONE:
            return
        if write is Write.SUBSCRIBED:
            # Two subscribes at once, of which this one took the other's row: start afresh.
            self._cut(row)
            raise ClientError(ErrorCode.ALREADY_SUBSCRIBED)
        self._store.remove_subscription(row)
        if write is Write.FULL:
            raise ClientError(ErrorCode.LIMIT_EXCEEDED, f"at most {most} channels a connection")
        raise _overtaken()

    def _await_leave(self, row: Subscription, connection: Connection, looks: int) -> int:
        """Wait until the connection is not in the channel; the looks that remain."""
        found: Connection | None = connection
        while found and row.channel in found.channels:
            if found.channels[row.channel].order > row.order:
                raise _overtaken()
            if not looks:
                raise ClientError(ErrorCode.ALREADY_SUBSCRIBED)
            looks -= 1
            self._sleep(limits.REORDER_LOOK_SECONDS)
            found = self._store.connection(row.connection_id)
        return looks

    def _life(self, claims: SubscriptionClaims | None) -> SubscribeResult:
        """What a subscriber is told of its token's end."""
        if claims is None or not claims.expire_at:
            return SubscribeResult()
        return SubscribeResult(expires=True, ttl=max(1, int(claims.expire_at - self._clock())))

    def _read(
        self, row: Subscription, options: Options, ask: Subscribe, life: SubscribeResult
    ) -> Joining:
        """Read the stream for a row that is in place, so that nothing falls in between."""
        recovery = self._recover(options, ask)
        if ask.recover and not recovery.recovered and ask.flag & REJECT_UNRECOVERED:
            raise ClientError(ErrorCode.UNRECOVERABLE_POSITION)
        recoverable = options.force_recovery or (options.allow_recovery and ask.recoverable)
        positioned = recoverable or (
            options.force_positioning or (options.allow_positioning and ask.positioned)
        )
        room = fitting(recovery.publications, limits.REPLY_BYTES)
        shown = recovery.publications[:room]
        position = recovery.position
        result = structs.replace(
            life,
            recoverable=recoverable,
            positioned=positioned,
            epoch=position.epoch if positioned else "",
            offset=(shown[-1].offset if room < len(recovery.publications) else position.offset)
            if positioned
            else 0,
            publications=tuple(WirePublication.of(each) for each in shown),
            recovered=recovery.recovered,
            was_recovering=ask.recover,
        )
        return Joining(row, options, result, position, recovery.publications[room:])

    def _recover(self, options: Options, ask: Subscribe) -> Recovery:
        may = options.force_recovery or options.allow_recovery
        if ask.recover and may:
            return self._log.recover(ask.channel, options, Position(ask.offset, ask.epoch))
        position = self._log.position(ask.channel, options)
        return Recovery(recovered=False, publications=(), position=position)

    def finish(self, joining: Joining) -> None:
        """Bring a client that was told of its join up to date, until it is live."""
        row, position = joining.row, joining.position
        due: Sequence[Publication] = joining.rest
        tries = limits.JOIN_TRIES if position else 0
        for _ in range(tries + 1):
            frames = DIALECTS[row.dialect].publications(row.channel, due, batch=row.batch)
            if due and not self._connections.post(Post(row.connection_id, frames)):
                return
            flip = self._store.go_live(row, position) if position else Flip.LIVE
            if flip is Flip.LIVE and joining.options.join_leave:
                self._presence.joined(row)
            if flip is not Flip.BEHIND or position is None:
                return
            stretch = self._log.onward(row.channel, joining.options, position)
            if stretch.gap_below:
                break
            due, position = stretch.publications, Position(stretch.upto, position.epoch)
        self._cut(row)

    def _cut(self, row: Subscription) -> None:
        why = Disconnect.of(DisconnectCode.INSUFFICIENT_STATE)
        self._connections.cut([row.connection_id], why)

    # -- Leaving

    def leave(self, connection: Connection, channel: str, order: int) -> bool:
        """Take a connection out of a channel, whether or not it was in; whether it was.

        The order is remembered, so that a subscribe that was sent before stays undone.
        """
        entry = connection.channels.get(channel)
        if entry is None and len(connection.left) >= 4 * limits.LEFT_CHANNELS:
            return False  # nobody leaves so many channels within a minute without entering them
        now = self._clock()
        old = [c for c, left in connection.left.items() if now - left.at > limits.LEFT_SECONDS]
        forget = old if len(connection.left) > limits.LEFT_CHANNELS else ()
        left = self._store.leave_channel(connection.id, channel, Left(order, now), forget=forget)
        known = left or entry
        shards = self._channels.options(channel).shards
        row = Subscription(
            channel=channel,
            shard=known.shard if known else shard_of(connection.id, shards),
            connection_id=connection.id,
            order=order,
            dialect=connection.dialect,
            expires_at=0,
            user=connection.user,
            info=connection.identity.info,
        )
        self._store.remove_subscription(row)
        if left is not None:
            self._presence.left([row])
        return left is not None


def _info(connection: Connection, claims: SubscriptionClaims | None) -> str:
    """What others see of a subscriber: what its subscription token says, else its own."""
    if claims is not None and claims.info is not None:
        return bytes(claims.info).decode()
    return connection.identity.info


def rests_until(*ends_at: float) -> float:
    """When a row is sent to no more: its tokens' earlier end, and the grace; 0: never."""
    ends = [end for end in ends_at if end]
    return min(ends) + limits.TOKEN_GRACE_SECONDS if ends else 0.0


def _overtaken() -> ClientError:
    """A later command of the same client on the channel was handled before this one.

    Temporary: JavaScript and Python clients ignore the reply by then, Go's subscribes again.
    """
    return ClientError(ErrorCode.INTERNAL, "a later command on this channel was handled first")
