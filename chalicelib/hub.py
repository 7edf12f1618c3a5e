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
from chalicelib.channels import Channels, shard_of
from chalicelib.connections import Connections
from chalicelib.errors import ClientError, DisconnectCode, ErrorCode
from chalicelib.model import Connection, Delivery, Disconnect, Post, Subscription
from chalicelib.notifier import Notifier
from chalicelib.ports import Parallel, Store, Transport
from chalicelib.protocol import choose, commands
from chalicelib.protocol.commands import Command, Dialect, Reply, Request, Result
from chalicelib.rpc import Call, Registry
from chalicelib.subscriptions import Subscriptions

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Frame:
    """Where commands come from: the connection as it was read, its dialect, the time in ms."""

    connection: Connection
    dialect: Dialect
    received_at_ms: int

    def order(self, command_id: int) -> int:
        if self.dialect.needs_connect:
            return command_id
        return self.received_at_ms * 1_000_000 + command_id % 1_000_000


class Hub:
    """Answers what clients say; nothing that one of them sends makes it raise."""

    def __init__(  # noqa: PLR0913 the composition root hands in each part once
        self,
        *,
        store: Store,
        transport: Transport,
        connections: Connections,
        subscriptions: Subscriptions,
        notifier: Notifier,
        channels: Channels,
        methods: Registry,
        allow_anonymous: bool,
        parallel: Parallel,
    ) -> None:
        self._store = store
        self._transport = transport
        self._connections = connections
        self._subscriptions = subscriptions
        self._notifier = notifier
        self._channels = channels
        self._methods = methods
        self._allow_anonymous = allow_anonymous
        self._parallel = parallel
        self._answers: dict[type[Command], Callable[[Frame, Any, int], Result | None]] = {
            commands.Subscribe: self._subscribe,
            commands.Unsubscribe: self._unsubscribe,
            commands.Publish: self._publish,
            commands.Rpc: self._rpc,
            commands.Send: self._send,
            commands.Ping: lambda _frame, _command, _id: commands.PingResult(),
        }

    # -- The life of a socket

    def connect(self, connection_id: str, connected_at: float) -> bool:
        """Remember a new socket; False when it cannot be taken."""
        lifetime = limits.CONNECTION_SECONDS + limits.CONNECTION_GRACE_SECONDS
        connection = Connection(connection_id, connected_at, connected_at + lifetime)
        return self._store.add_connection(connection)

    def receive(self, connection_id: str, text: str, received_at_ms: int) -> None:
        """Answer one frame: connect first, the rest in parallel, replies in command order."""
        connection = self._store.connection(connection_id)
        if connection is None:
            why = Disconnect.of(DisconnectCode.STATE_INVALIDATED)
            self._connections.turn_away(connection_id, text, why)
            return
        dialect = choose(connection.dialect, text)
        frame = Frame(connection, dialect, received_at_ms)
        self._reply(frame, self._answer_all(frame, dialect.decode(text)))

    def disconnect(self, connection_id: str) -> None:
        """Forget a socket that has closed."""
        self._connections.forget([connection_id])

    # -- Frames

    def _answer_all(self, frame: Frame, said: Sequence[Request | Reply]) -> list[Reply]:
        """The replies to a frame, in the order of its commands; only connect's if that fails."""
        replies: list[Reply | None] = [r if isinstance(r, Reply) else None for r in said]
        rest: list[tuple[int, Request]] = []
        for place, request in enumerate(said):
            if isinstance(request, Request) and isinstance(request.command, commands.Connect):
                replies[place] = reply = self._connect(frame, request)
                if isinstance(reply.answer, ClientError):
                    return [reply]
                frame = replace(
                    frame, connection=replace(frame.connection, dialect=frame.dialect.name)
                )
            elif isinstance(request, Request):
                rest.append((place, request))
        answers = self._parallel(lambda item: self._answer(frame, item[1]), rest)
        for (place, _), answer in zip(rest, answers, strict=True):
            replies[place] = answer
        return [reply for reply in replies if reply is not None]

    def _answer(self, frame: Frame, request: Request) -> Reply | None:
        command = request.command
        try:
            self._check_identified(frame)
            result = self._answers[type(command)](frame, command, request.id)
        except ClientError as error:
            return Reply(request.id, error)
        except Exception:  # noqa: BLE001 one command must not take the others' replies with it
            logs.failure("command_failed", connection=frame.connection.id, command=command.name)
            return Reply(request.id, ClientError(ErrorCode.INTERNAL))
        return None if result is None else Reply(request.id, result)

    def _check_identified(self, frame: Frame) -> None:
        if frame.dialect.needs_connect and not frame.connection.dialect:
            raise ClientError(ErrorCode.BAD_REQUEST, "the first command must be connect")
        if not frame.connection.user and not self._allow_anonymous:
            raise ClientError(ErrorCode.UNAUTHORIZED)

    def _reply(self, frame: Frame, replies: Sequence[Reply]) -> None:
        if not replies:
            return
        post = Post(frame.connection.id, frame.dialect.frames(replies))
        for connection_id, delivery in self._transport.send([post], within=limits.REPLY_SECONDS):
            if delivery is Delivery.GONE:
                self._connections.forget([connection_id])
            elif delivery is Delivery.FAILED:
                logs.warning("reply_failed", connection=connection_id)

    # -- Commands

    def _connect(self, frame: Frame, request: Request) -> Reply:
        try:
            if not self._allow_anonymous:
                raise ClientError(ErrorCode.UNAUTHORIZED)
            connection_id = frame.connection.id
            if not self._store.identify(connection_id, dialect=frame.dialect.name, user=""):
                raise ClientError(ErrorCode.BAD_REQUEST, "connected already")
        except ClientError as error:
            return Reply(request.id, error)
        return Reply(request.id, commands.ConnectResult(client=connection_id, version=VERSION))

    def _subscribe(
        self, frame: Frame, command: commands.Subscribe, command_id: int
    ) -> commands.SubscribeResult:
        connection, channel = frame.connection, command.channel
        options = self._channels.check_subscribe(channel, connection.user)
        self._subscriptions.enter(
            Subscription(
                channel=channel,
                shard=shard_of(connection.id, options.shards),
                connection_id=connection.id,
                order=frame.order(command_id),
                dialect=frame.dialect.name,
                expires_at=connection.expires_at,
                batch=command.batch,
                user=connection.user,
            ),
            connection,
            wait=limits.REORDER_SECONDS,
        )
        return commands.SubscribeResult()

    def _unsubscribe(
        self, frame: Frame, command: commands.Unsubscribe, command_id: int
    ) -> commands.UnsubscribeResult:
        self._channels.options(command.channel)
        self._subscriptions.leave(frame.connection, command.channel, frame.order(command_id))
        return commands.UnsubscribeResult()

    def _publish(self, frame: Frame, command: commands.Publish, _id: int) -> commands.PublishResult:
        connection = frame.connection
        self._channels.check_publish(
            command.channel, connection.user, subscribed=command.channel in connection.channels
        )
        self._notifier.publish(command.channel, command.data, info=connection.info)
        return commands.PublishResult()

    def _rpc(self, frame: Frame, command: commands.Rpc, _id: int) -> commands.RpcResult:
        call = Call(frame.connection, command.data, self._notifier)
        return commands.RpcResult(self._methods.call(command.method, call))

    def _send(self, frame: Frame, command: commands.Send, _id: int) -> None:
        if "send" in self._methods:
            self._methods.call("send", Call(frame.connection, command.data, self._notifier))
