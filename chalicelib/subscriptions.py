"""Entering and leaving channels, in whatever order the commands are handled."""

from collections.abc import Callable

from chalicelib import limits
from chalicelib.channels import Channels, shard_of
from chalicelib.connections import Connections
from chalicelib.errors import ClientError, DisconnectCode, ErrorCode
from chalicelib.model import Connection, Disconnect, Left, Subscription
from chalicelib.ports import Store, Write


class Subscriptions:
    """Keeps a connection's channel map and its rows in step: the row first, then the map.

    So a row without an entry can be left behind by a crash, which the connection's end cleans up,
    but never an entry without a row, which would be a client that waits for nothing.
    """

    def __init__(
        self,
        store: Store,
        connections: Connections,
        channels: Channels,
        *,
        max_channels: int,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._connections = connections
        self._channels = channels
        self._max_channels = max_channels
        self._clock = clock
        self._sleep = sleep

    def enter(self, row: Subscription, connection: Connection, *, wait: float) -> None:
        """Put a connection into a channel.

        Where it is in the channel already, an unsubscribe that was sent before may still be on
        its way: it is awaited for ``wait`` seconds.

        Raises: ClientError 105 in the channel already, 106 in too many, 100 when a later command
            on the channel was handled before this one, or the connection is no more.
        """
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
            why = Disconnect.of(DisconnectCode.INSUFFICIENT_STATE)
            self._connections.cut([row.connection_id], why)
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
        shard = known.shard if known else shard_of(connection.id, shards)
        self._store.remove_subscription(
            Subscription(channel, shard, connection.id, order, connection.dialect, expires_at=0)
        )
        return left is not None


def _overtaken() -> ClientError:
    """A later command of the same client on the channel was handled before this one.

    Temporary: JavaScript and Python clients ignore the reply by then, Go's subscribes again.
    """
    return ClientError(ErrorCode.INTERNAL, "a later command on this channel was handled first")
