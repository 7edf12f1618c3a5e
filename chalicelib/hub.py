"""The client's side: a socket opens, speaks, and closes.

API Gateway hands the frames of one connection to concurrent Lambdas, which may finish in any
order, while SDKs send an unsubscribe and a subscribe back to back. So each command on a channel
has an *order*: the command's id where ids rise (centrifuge), else the millisecond in which API
Gateway took the frame, and the id within it. The connection's map keeps the order of the last
command of each channel, and a lower order never undoes a higher one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chalicelib import limits, logs
from chalicelib.capabilities import Capabilities, Operation
from chalicelib.channels import Caller, Channels
from chalicelib.connections import Connections
from chalicelib.errors import (
    ClientError,
    DisconnectCode,
    DisconnectError,
    ErrorCode,
    KeysUnavailableError,
    StoreError,
    TokenExpiredError,
    TokenInvalidError,
)
from chalicelib.model import (
    ClientInfo,
    Connection,
    Disconnect,
    Identity,
    Post,
    Subscription,
)
from chalicelib.notifier import Extras, Notifier
from chalicelib.ports import Parallel, Store
from chalicelib.protocol import choose, commands
from chalicelib.protocol.commands import Command, Dialect, Reply, Request, Result
from chalicelib.rpc import Call, Registry
from chalicelib.subscriptions import Joining, Subscriptions, rests_until
from chalicelib.tokens import ConnectionClaims, SubscriptionClaims, Verifier

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Frame:
    """Where commands come from: the connection as it was read, its dialect, the time in ms."""

    connection: Connection
    dialect: Dialect
    received_at_ms: int

    @property
    def is_identified(self) -> bool:
        """Whether the client may give commands: in one dialect it has to connect first."""
        return bool(self.connection.dialect) or not self.dialect.needs_connect

    def order(self, command_id: int) -> int:
        if self.dialect.needs_connect:
            return command_id
        return self.received_at_ms * 1_000_000 + command_id % 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and the joins that are to be finished once it has been posted."""

    reply: Reply
    joinings: tuple[Joining, ...] = ()


class Hub:
    """Answers what clients say; nothing that one of them sends makes it raise."""

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        connections: Connections,
        subscriptions: Subscriptions,
        notifier: Notifier,
        channels: Channels,
        methods: Registry,
        verifier: Verifier,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        allow_anonymous: bool,
        ping: int,
        parallel: Parallel,
    ) -> None:
        self._store = store
        self._connections = connections
        self._subscriptions = subscriptions
        self._notifier = notifier
        self._channels = channels
        self._methods = methods
        self._verifier = verifier
        self._clock = clock
        self._sleep = sleep
        self._allow_anonymous = allow_anonymous
        self._ping = ping
        self._parallel = parallel
        self._answers: dict[type[Command], Callable[[Frame, Any, int], Result | Joining | None]] = {
            commands.Subscribe: self._subscribe,
            commands.Unsubscribe: self._unsubscribe,
            commands.Publish: self._publish,
            commands.History: self._history,
            commands.Presence: self._presence,
            commands.PresenceStats: self._presence_stats,
            commands.Refresh: self._refresh,
            commands.SubRefresh: self._sub_refresh,
            commands.Rpc: self._rpc,
            commands.Send: self._send,
            commands.Ping: lambda _frame, _command, _id: commands.PingResult(),
        }

    # -- The life of a socket

    def connect(self, connection_id: str, connected_at: float, token: str = "") -> bool:
        """Remember a new socket, with whom its handshake's token names; False: not with that token.

        Raises: KeysUnavailableError, StoreError when it cannot be taken just now.
        """
        lifetime = limits.CONNECTION_SECONDS + limits.CONNECTION_GRACE_SECONDS
        try:
            identity = _identity(self._verifier.connection(token)) if token else Identity()
        except (TokenInvalidError, TokenExpiredError) as error:
            logs.info("handshake_refused", connection=connection_id, problem=str(error))
            return False
        connection = Connection(
            connection_id, connected_at, connected_at + lifetime, identity=identity
        )
        if not self._store.add_connection(connection):
            raise StoreError(f"connection {connection_id} is there already")
        return True

    def receive(self, connection_id: str, text: str, received_at_ms: int) -> None:
        """Answer one frame: connect first, the rest in parallel, replies in command order."""
        connection = self._store.connection(connection_id)
        if connection is None:
            why = Disconnect.of(DisconnectCode.STATE_INVALIDATED)
            self._connections.turn_away(connection_id, text, why)
            return
        dialect = choose(connection.dialect, text)
        frame = Frame(connection, dialect, received_at_ms)
        try:
            answers = self._answer_all(frame, dialect.decode(text))
        except DisconnectError as error:
            why = Disconnect.of(error.why)
            self._connections.cut([connection_id], why, dialect=dialect.name)
            return
        if not answers:
            return
        post = Post(connection_id, dialect.frames([answer.reply for answer in answers]))
        if self._connections.post(post):
            joinings = [joining for answer in answers for joining in answer.joinings]
            self._parallel(self._subscriptions.finish, joinings)

    def disconnect(self, connection_id: str) -> None:
        """Forget a socket that has closed."""
        self._connections.forget([connection_id])

    # -- Frames

    def _answer_all(self, frame: Frame, said: Sequence[Request | Reply]) -> list[Answer]:
        """The answers to a frame, in the order of its commands; only connect's if that fails."""
        answers: list[Answer | None] = [Answer(r) if isinstance(r, Reply) else None for r in said]
        rest: list[tuple[int, Request]] = []
        for place, request in enumerate(said):
            if isinstance(request, Request) and isinstance(request.command, commands.Connect):
                answers[place], connection = self._connect(frame, request)
                if connection is None:
                    return [each for each in answers[place : place + 1] if each]
                frame = replace(frame, connection=connection)
            elif isinstance(request, Request):
                rest.append((place, request))
        if not frame.is_identified and any(request.id > 1 for _, request in rest):
            frame = self._await_connect(frame)
        answered = self._parallel(lambda item: self._answer(frame, item[1]), rest)
        for (place, _), each in zip(rest, answered, strict=True):
            answers[place] = each
        return [each for each in answers if each is not None]

    def _await_connect(self, frame: Frame) -> Frame:
        """The frame, once the connect that was sent before it has been handled, if one was.

        A JavaScript client that subscribes again does not wait for the reply to its connect.
        """
        for _ in range(int(limits.REORDER_SECONDS / limits.REORDER_LOOK_SECONDS)):
            self._sleep(limits.REORDER_LOOK_SECONDS)
            found = self._store.connection(frame.connection.id)
            frame = replace(frame, connection=found or frame.connection)
            if frame.is_identified:
                break
        return frame

    def _answer(self, frame: Frame, request: Request) -> Answer | None:
        command = request.command
        try:
            self._check_identified(frame, request.id)
            result = self._answers[type(command)](frame, command, request.id)
        except ClientError as error:
            return Answer(Reply(request.id, error))
        except DisconnectError:
            raise
        except Exception:  # noqa: BLE001 one command must not take the others' replies with it
            logs.failure("command_failed", connection=frame.connection.id, command=command.name)
            return Answer(Reply(request.id, ClientError(ErrorCode.INTERNAL)))
        if isinstance(result, Joining):
            return Answer(Reply(request.id, result.result), (result,))
        return None if result is None else Answer(Reply(request.id, result))

    def _check_identified(self, frame: Frame, command_id: int) -> None:
        if not frame.is_identified and command_id > 1:
            # Temporary, unlike 107, which would end a subscription that did nothing wrong.
            raise ClientError(ErrorCode.INTERNAL, "connect was not handled yet")
        if not frame.is_identified:
            raise ClientError(ErrorCode.BAD_REQUEST, "the first command must be connect")
        if not frame.connection.user and not self._allow_anonymous:
            raise ClientError(ErrorCode.UNAUTHORIZED)

    # -- Commands

    def _connect(self, frame: Frame, request: Request) -> tuple[Answer, Connection | None]:
        """The answer to a connect, and the connection that it made; None: it failed.

        Raises: DisconnectError 3500 for a token that is none of ours.
        """
        command = request.command
        assert isinstance(command, commands.Connect)
        try:
            claims = self._claims(command.token) if command.token else None
            identity = _identity(claims) if claims else frame.connection.identity
            if not identity.user and not self._allow_anonymous:
                raise ClientError(ErrorCode.UNAUTHORIZED)
            connection_id, dialect = frame.connection.id, frame.dialect.name
            if not self._store.identify(connection_id, dialect, identity):
                raise ClientError(ErrorCode.BAD_REQUEST, "connected already")
            connection = replace(frame.connection, dialect=dialect, identity=identity)
            joinings = self._server_side(frame, connection, command, request.id, claims)
        except ClientError as error:
            return Answer(Reply(request.id, error)), None
        ttl = self._ttl(identity.ends_at)
        result = commands.ConnectResult(
            client=connection_id,
            version=VERSION,
            expires=ttl > 0,
            ttl=ttl,
            ping=self._ping,
            subs={joining.row.channel: joining.result for joining in joinings},
        )
        return Answer(Reply(request.id, result), tuple(joinings)), connection

    def _server_side(
        self,
        frame: Frame,
        connection: Connection,
        command: commands.Connect,
        command_id: int,
        claims: ConnectionClaims | None,
    ) -> list[Joining]:
        """Put a connection into the channels that its token names."""
        channels = list(claims.subs or claims.channels) if claims else []

        def begin(channel: str) -> Joining:
            known = command.subs.get(channel, commands.Resume())
            ask = commands.Subscribe(
                channel, recover=known.recover, offset=known.offset, epoch=known.epoch
            )
            order = frame.order(command_id)
            return self._subscriptions.begin(connection, connection.dialect, order, ask, wait=0)

        return self._parallel(begin, channels)

    def _claims(self, token: str) -> ConnectionClaims:
        """Raises: ClientError 100, 109; DisconnectError 3500."""
        try:
            return self._verifier.connection(token)
        except TokenExpiredError as error:
            raise ClientError(ErrorCode.TOKEN_EXPIRED) from error
        except KeysUnavailableError as error:
            raise ClientError(ErrorCode.INTERNAL, "tokens cannot be checked now") from error
        except TokenInvalidError as error:
            logs.info("token_refused", problem=str(error))
            raise DisconnectError(DisconnectCode.INVALID_TOKEN) from error

    def _ttl(self, ends_at: float) -> int:
        """Seconds until a token ends; 0: never."""
        return max(1, int(ends_at - self._clock())) if ends_at else 0

    def _caller(self, frame: Frame, channel: str, *, authorised: bool = False) -> Caller:
        connection = frame.connection
        return Caller(
            user=connection.user,
            subscribed=channel in connection.channels,
            authorised=authorised,
            capabilities=Capabilities.from_json(connection.identity.capabilities),
        )

    def _subscribe(self, frame: Frame, command: commands.Subscribe, command_id: int) -> Joining:
        connection, channel = frame.connection, command.channel
        claims = self._subscription_claims(frame, channel, command.token) if command.token else None
        caller = self._caller(frame, channel, authorised=claims is not None)
        self._channels.may(Operation.SUBSCRIBE, channel, caller)
        order, wait = frame.order(command_id), limits.REORDER_SECONDS
        return self._subscriptions.begin(
            connection, frame.dialect.name, order, command, wait=wait, claims=claims
        )

    def _subscription_claims(self, frame: Frame, channel: str, token: str) -> SubscriptionClaims:
        """Raises: ClientError 100, 103, 109."""
        connection = frame.connection
        try:
            return self._verifier.subscription(
                token, channel=channel, user=connection.user, client=connection.id
            )
        except TokenExpiredError as error:
            raise ClientError(ErrorCode.TOKEN_EXPIRED) from error
        except KeysUnavailableError as error:
            raise ClientError(ErrorCode.INTERNAL, "tokens cannot be checked now") from error
        except TokenInvalidError as error:
            logs.info("subscription_token_refused", problem=str(error))
            raise ClientError(ErrorCode.PERMISSION_DENIED, str(error)) from error

    def _refresh(self, frame: Frame, command: commands.Refresh, _id: int) -> commands.RefreshResult:
        """Take a newer connection token of the same user, for all that rests on the old one.

        Raises: DisconnectError 3500, or 3005 for an expired one and for one that comes too late.
        """
        connection = frame.connection
        try:
            identity = _identity(self._claims(command.token))
        except ClientError as error:
            if error.reason is ErrorCode.TOKEN_EXPIRED:  # an error would be terminal in SDKs
                raise DisconnectError(DisconnectCode.EXPIRED) from error
            raise
        if self._is_over(connection.identity.ends_at):
            raise DisconnectError(DisconnectCode.EXPIRED)
        if not self._store.renew(connection.id, identity):
            raise DisconnectError(DisconnectCode.INVALID_TOKEN)
        self._parallel(
            lambda row: self._rest(row, identity.ends_at, None), connection.subscriptions
        )
        ttl = self._ttl(identity.ends_at)
        return commands.RefreshResult(connection.id, VERSION, expires=ttl > 0, ttl=ttl)

    def _rest(self, row: Subscription, ends_at: float, token_ends_at: float | None) -> None:
        """Let a row rest on newer tokens: the connection's, and its own (None: as it was)."""
        there = self._store.subscription(row.channel, row.shard, row.connection_id)
        if there is not None:
            own = there.token_ends_at if token_ends_at is None else token_ends_at
            until = rests_until(ends_at, own)
            self._store.rest(replace(there, token_ends_at=own, skip_after=until))

    def _is_over(self, ends_at: float) -> bool:
        return 0 < ends_at <= self._clock() - limits.TOKEN_GRACE_SECONDS

    def _sub_refresh(
        self, frame: Frame, command: commands.SubRefresh, _id: int
    ) -> commands.SubRefreshResult:
        """Take a newer subscription token for a channel that the connection is in."""
        connection, channel = frame.connection, command.channel
        claims = self._subscription_claims(frame, channel, command.token)
        row = next((r for r in connection.subscriptions if r.channel == channel), None)
        if row is None:
            raise ClientError(ErrorCode.BAD_REQUEST, "not subscribed to the channel")
        self._rest(row, connection.identity.ends_at, claims.expire_at)
        ttl = self._ttl(claims.expire_at)
        return commands.SubRefreshResult(expires=ttl > 0, ttl=ttl)

    def _unsubscribe(
        self, frame: Frame, command: commands.Unsubscribe, command_id: int
    ) -> commands.UnsubscribeResult:
        self._channels.options(command.channel)
        self._subscriptions.leave(frame.connection, command.channel, frame.order(command_id))
        return commands.UnsubscribeResult()

    def _publish(self, frame: Frame, command: commands.Publish, _id: int) -> commands.PublishResult:
        connection = frame.connection
        caller = self._caller(frame, command.channel)
        self._channels.may(Operation.PUBLISH, command.channel, caller)
        self._notifier.publish(command.channel, command.data, Extras(info=connection.client_info))
        return commands.PublishResult()

    def _history(self, frame: Frame, command: commands.History, _id: int) -> commands.HistoryResult:
        channel = command.channel
        self._channels.may(Operation.HISTORY, channel, self._caller(frame, channel))
        publications, top = self._notifier.history(
            channel, limit=command.limit, since=command.since, reverse=command.reverse
        )
        room = commands.fitting(publications, limits.REPLY_BYTES)
        wire = tuple(commands.WirePublication.of(each) for each in publications[:room])
        return commands.HistoryResult(wire, top.epoch, top.offset)

    def _members(self, frame: Frame, channel: str) -> dict[str, ClientInfo]:
        self._channels.may(Operation.PRESENCE, channel, self._caller(frame, channel))
        return self._notifier.presence(channel)

    def _presence(
        self, frame: Frame, command: commands.Presence, _id: int
    ) -> commands.PresenceResult:
        members = self._members(frame, command.channel)
        return commands.PresenceResult(members)

    def _presence_stats(
        self, frame: Frame, command: commands.PresenceStats, _id: int
    ) -> commands.PresenceStatsResult:
        members = self._members(frame, command.channel)
        users = {info.user for info in members.values()}
        return commands.PresenceStatsResult(len(members), len(users))

    def _rpc(self, frame: Frame, command: commands.Rpc, _id: int) -> commands.RpcResult:
        call = Call(frame.connection, command.data, self._notifier)
        return commands.RpcResult(self._methods.call(command.method, call))

    def _send(self, frame: Frame, command: commands.Send, _id: int) -> None:
        if "send" in self._methods:
            self._methods.call("send", Call(frame.connection, command.data, self._notifier))


def _identity(claims: ConnectionClaims) -> Identity:
    return Identity(
        user=claims.sub,
        info=bytes(claims.info).decode() if claims.info is not None else "",
        capabilities=claims.caps.to_json(),
        ends_at=claims.expire_at,
    )
