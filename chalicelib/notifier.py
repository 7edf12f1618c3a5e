"""The application's side: publish to channels, move users in and out of them.

What every HTTP route, queue and schedule calls::

    from chalicelib.bootstrap import notifier

    notifier().publish("orders:42", {"status": "shipped"})
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b

import msgspec

from chalicelib import limits, logs
from chalicelib.channels import Channels, Options
from chalicelib.connections import Connections
from chalicelib.errors import ClientError, ErrorCode, UnsubscribeCode
from chalicelib.fanout import Fanout
from chalicelib.model import (
    ClientInfo,
    Connection,
    Disconnect,
    Position,
    Post,
    Publication,
    Report,
    Subscription,
)
from chalicelib.ports import ClaimState, Dispatcher, Store, Streams, Version
from chalicelib.presence import Presence
from chalicelib.protocol import DIALECTS
from chalicelib.protocol.commands import (
    Pub,
    Push,
    Subscribe,
    Subscribed,
    Unsubscribed,
    one_line,
    wire_size,
)
from chalicelib.streams import Log
from chalicelib.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Census:
    """How many connections, users with at least one, subscriptions, channels with at least one."""

    clients: int
    users: int
    subscriptions: int
    channels: int


@dataclass(frozen=True, slots=True)
class Published:
    """Where a publication went in its stream, and what became of it as far as this call knows.

    Without history the offset is 0 and the epoch empty.
    """

    position: Position
    report: Report


@dataclass(frozen=True, slots=True)
class Extras:
    """What a publisher may say beside channel and data.

    Attributes:
        tags: Text by name, delivered beside the data.
        info: The client that published, if one did.
        exclude: A client id that shall not get it live; a recovery brings it all the same.
        skip_history: Send it, but do not keep it, in a channel that keeps history.
        idempotency_key: Publish once, however often this call is made within five minutes.
        version: The publisher's own count: what is not above the last one seen is dropped.
    """

    tags: Mapping[str, str] | None = None
    info: ClientInfo | None = None
    exclude: str = ""
    skip_history: bool = False
    idempotency_key: str = ""
    version: Version | None = None


_PLAIN = Extras()
_NOWHERE = Position()


class Notifier:
    """Publishes, and moves clients; knows nothing of HTTP, sockets or tables."""

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        streams: Streams,
        log: Log,
        channels: Channels,
        fanout: Fanout,
        dispatcher: Dispatcher,
        subscriptions: Subscriptions,
        connections: Connections,
        presence: Presence,
        max_data_bytes: int,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._streams = streams
        self._log = log
        self._channels = channels
        self._fanout = fanout
        self._dispatcher = dispatcher
        self._subscriptions = subscriptions
        self._connections = connections
        self._presence = presence
        self._max_data_bytes = max_data_bytes
        self._clock = clock
        self._sleep = sleep

    # -- To channels

    def publish(self, channel: str, data: object, extras: Extras = _PLAIN) -> Published:
        """Send ``data`` to everyone in a channel.

        Once this returns, the publication is kept as long as the channel's history says: whoever
        is subscribed gets it, or recovers it. Without history it is sent at most once.

        Args:
            channel: Its name, ``namespace:name`` or without a namespace.
            data: Anything that JSON can hold, or ``msgspec.Raw`` JSON, which is passed on as it is.
            extras: What else there is to say about it.

        Raises: ClientError 102, 106, 107; 100 (temporary) while another call with the same
            idempotency key is at it, 113 when that call had another body.
        """
        options = self._channels.options(channel)
        publication = self._checked(data, extras)
        if extras.idempotency_key:
            published = self._once(channel, options, publication, extras)
        else:
            published = self._publish(channel, options, publication, extras)
        logs.info(
            "published",
            channel=channel,
            offset=published.position.offset,
            published=1,
            delivered=published.report.delivered,
            gone=published.report.gone,
            failed=published.report.failed,
        )
        return published

    def _checked(self, data: object, extras: Extras) -> Publication:
        raw = one_line(msgspec.json.encode(data))
        publication = Publication(raw, info=extras.info, tags=extras.tags, exclude=extras.exclude)
        for what, size, most in (
            ("data", len(memoryview(raw)), self._max_data_bytes),
            ("data, info and tags", wire_size(publication), limits.PUBLICATION_BYTES),
            (
                "idempotency_key",
                len(extras.idempotency_key.encode()),
                limits.IDEMPOTENCY_KEY_BYTES,
            ),
        ):
            if size > most:
                detail = f"{what} has {size} bytes, at most {most}"
                raise ClientError(ErrorCode.LIMIT_EXCEEDED, detail)
        return publication

    def _publish(
        self, channel: str, options: Options, publication: Publication, extras: Extras
    ) -> Published:
        if not options.keeps_history or extras.skip_history:
            pub = Pub(channel, publication)
            to = _all_but(extras.exclude)
            return Published(_NOWHERE, self._fanout.send(channel, pub, to=to))
        position = self._log.append(
            channel, options, publication, version=extras.version, key=extras.idempotency_key
        )
        if position is None:  # the version is not new
            return Published(self._log.position(channel, options), Report())
        return Published(position, self._ring(channel, options))

    def _ring(self, channel: str, options: Options) -> Report:
        """Have the shards drained; what fails here costs time, not the publication.

        It is in the stream, so it counts as accepted: an error would have it published again.
        """
        try:
            return self._dispatcher.ring(channel, options.all_shards)
        except Exception:  # noqa: BLE001 the next ring, or the sweep, sends what is due
            logs.failure("ring_failed", channel=channel)
            return Report()

    def _once(
        self, channel: str, options: Options, publication: Publication, extras: Extras
    ) -> Published:
        """Publish under an idempotency key, or say where it was published before."""
        key, digest = extras.idempotency_key, blake2b(bytes(publication.data)).hexdigest()
        give_up_at = self._clock() + limits.IDEMPOTENCY_WAIT_SECONDS
        while (claim := self._streams.claim(channel, key, digest)).state is ClaimState.BUSY:
            if self._clock() >= give_up_at:
                detail = "another call with this idempotency key is still at it"
                raise ClientError(ErrorCode.INTERNAL, detail)
            self._sleep(limits.IDEMPOTENCY_LOOK_SECONDS)
        if claim.state is ClaimState.OTHER_BODY:
            detail = "the idempotency key was used with other data"
            raise ClientError(ErrorCode.CONCURRENT_PAGINATION, detail)
        if claim.position is not None:
            return Published(claim.position, Report())
        before = claim.state is ClaimState.TAKEN_OVER and self._log.find(channel, key)
        if before:
            published = Published(before, self._ring(channel, options))
        else:
            published = self._publish(channel, options, publication, extras)
        self._streams.complete(channel, key, digest, published.position)
        return published

    # -- About channels

    def history(
        self, channel: str, *, limit: int = 0, since: Position | None = None, reverse: bool = False
    ) -> tuple[tuple[Publication, ...], Position]:
        """What was published, and the top; see ``Log.history``.

        Raises: ClientError 102, 107, 108 where the channel keeps none, 112.
        """
        options = self._channels.options(channel)
        _check(options.keeps_history, "the channel keeps no history")
        return self._log.history(channel, options, limit=limit, since=since, reverse=reverse)

    def remove_history(self, channel: str) -> None:
        """Forget what was published; the stream goes on from its position.

        Raises: ClientError 102, 107, 108 where the channel keeps none.
        """
        options = self._channels.options(channel)
        _check(options.keeps_history, "the channel keeps no history")
        self._streams.remove_history(channel)

    def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is in a channel, by client id.

        Raises: ClientError 102, 107, 108 where the channel has none.
        """
        options = self._channels.options(channel)
        _check(options.presence, "the channel has no presence")
        return self._presence.members(channel, options)

    # -- To clients

    def clients_of(self, user: str) -> list[str]:
        """The ids of a user's connections; of some that are no more, maybe."""
        return self._store.connections_of(user)

    def subscribe(self, client: str, channel: str, since: Position | None = None) -> None:
        """Put a client into a channel and tell it; nothing happens if it is in, or unknown.

        Raises: ClientError 102, 106 or 107.
        """
        self._channels.options(channel)
        connection = self._store.connection(client)
        if connection is None or not connection.dialect or channel in connection.channels:
            return
        from_ = since or Position()
        ask = Subscribe(channel, recover=since is not None, offset=from_.offset, epoch=from_.epoch)
        order = max(connection.newest_order(channel), 0)
        joining = self._subscriptions.begin(connection, connection.dialect, order, ask, wait=0)
        if self._tell(connection, Subscribed(channel, joining.result)):
            self._subscriptions.finish(joining)

    def unsubscribe(self, client: str, channel: str) -> None:
        """Take a client out of a channel and tell it; nothing happens if it is not in.

        Raises: ClientError 102 or 107.
        """
        self._channels.options(channel)
        connection = self._store.connection(client)
        if connection is None or channel not in connection.channels:
            return
        if self._subscriptions.leave(connection, channel, connection.newest_order(channel)):
            ended = UnsubscribeCode.SERVER
            self._tell(connection, Unsubscribed(channel, ended.value, "server unsubscribe"))

    def disconnect(self, client: str, why: Disconnect) -> None:
        """Tell a client why, and close its connection; nothing happens if it is unknown."""
        self._connections.cut([client], why)

    def _tell(self, connection: Connection, push: Push) -> bool:
        post = Post(connection.id, DIALECTS[connection.dialect].frames([push]))
        return self._connections.post(post)

    # -- About everybody

    def channels(self, pattern: str = "") -> dict[str, int]:
        """The channels that somebody is in and that match a shell-style pattern, with how many.

        Reads every connection: for people and dashboards, not for a request path.
        Raises: ClientError 106 above ``limits.LISTED_CONNECTIONS`` connections.
        """
        counts: dict[str, int] = {}
        for connection in self._all_connections():
            for channel in connection.channels:
                if not pattern or fnmatchcase(channel, pattern):
                    counts[channel] = counts.get(channel, 0) + 1
        return counts

    def census(self) -> Census:
        """How many are connected. Reads every connection, as ``channels`` does."""
        alive = list(self._all_connections())
        return Census(
            clients=len(alive),
            users=len({connection.user for connection in alive if connection.user}),
            subscriptions=sum(len(connection.channels) for connection in alive),
            channels=len({channel for connection in alive for channel in connection.channels}),
        )

    def _all_connections(self) -> Iterator[Connection]:
        seen = 0
        for bucket in range(self._store.BUCKETS):
            for page in self._store.connections(bucket):
                seen += len(page)
                if seen > limits.LISTED_CONNECTIONS:
                    most = limits.LISTED_CONNECTIONS
                    detail = f"more than {most} connections cannot be listed"
                    raise ClientError(ErrorCode.LIMIT_EXCEEDED, detail)
                yield from page


def _all_but(client: str) -> Callable[[Subscription], bool]:
    return lambda row: not client or row.connection_id != client


def _check(available: bool, detail: str) -> None:  # noqa: FBT001 it is the condition
    if not available:
        raise ClientError(ErrorCode.NOT_AVAILABLE, detail)
