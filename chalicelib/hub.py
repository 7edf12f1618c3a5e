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
from chalicelib.channels import Channels
from chalicelib.connections import Connections
from chalicelib.errors import ClientError, DisconnectCode, ErrorCode
from chalicelib.model import ClientInfo, Connection, Disconnect, Post
from chalicelib.notifier import Extras, Notifier
from chalicelib.ports import Parallel, Store
from chalicelib.protocol import choose, commands
from chalicelib.protocol.commands import Command, Dialect, Reply, Request, Result
from chalicelib.rpc import Call, Registry
from chalicelib.subscriptions import Joining, Subscriptions

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


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and the join that is to be finished once it has been posted."""

    reply: Reply
    joining: Joining | None = None


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
        answers = self._answer_all(frame, dialect.decode(text))
        if not answers:
            return
        post = Post(connection_id, dialect.frames([answer.reply for answer in answers]))
        if self._connections.post(post):
            joinings = [answer.joining for answer in answers if answer.joining]
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
                answers[place] = answer = Answer(self._connect(frame, request))
                if isinstance(answer.reply.answer, ClientError):
                    return [answer]
                frame = replace(
                    frame, connection=replace(frame.connection, dialect=frame.dialect.name)
                )
            elif isinstance(request, Request):
                rest.append((place, request))
        answered = self._parallel(lambda item: self._answer(frame, item[1]), rest)
        for (place, _), each in zip(rest, answered, strict=True):
            answers[place] = each
        return [each for each in answers if each is not None]

    def _answer(self, frame: Frame, request: Request) -> Answer | None:
        command = request.command
        try:
            self._check_identified(frame)
            result = self._answers[type(command)](frame, command, request.id)
        except ClientError as error:
            return Answer(Reply(request.id, error))
        except Exception:  # noqa: BLE001 one command must not take the others' replies with it
            logs.failure("command_failed", connection=frame.connection.id, command=command.name)
            return Answer(Reply(request.id, ClientError(ErrorCode.INTERNAL)))
        if isinstance(result, Joining):
            return Answer(Reply(request.id, result.result), result)
        return None if result is None else Answer(Reply(request.id, result))

    def _check_identified(self, frame: Frame) -> None:
        if frame.dialect.needs_connect and not frame.connection.dialect:
            raise ClientError(ErrorCode.BAD_REQUEST, "the first command must be connect")
        if not frame.connection.user and not self._allow_anonymous:
            raise ClientError(ErrorCode.UNAUTHORIZED)

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
        result = commands.ConnectResult(client=connection_id, version=VERSION, ping=self._ping)
        return Reply(request.id, result)

    def _subscribe(self, frame: Frame, command: commands.Subscribe, command_id: int) -> Joining:
        connection = frame.connection
        self._channels.check_subscribe(command.channel, connection.user)
        order, wait = frame.order(command_id), limits.REORDER_SECONDS
        return self._subscriptions.begin(connection, frame.dialect.name, order, command, wait=wait)

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
        self._notifier.publish(command.channel, command.data, Extras(info=connection.info))
        return commands.PublishResult()

    def _history(self, frame: Frame, command: commands.History, _id: int) -> commands.HistoryResult:
        channel, connection = command.channel, frame.connection
        subscribed = channel in connection.channels
        self._channels.check_history(channel, connection.user, subscribed=subscribed)
        publications, top = self._notifier.history(
            channel, limit=command.limit, since=command.since, reverse=command.reverse
        )
        room = commands.fitting(publications, limits.REPLY_BYTES)
        wire = tuple(commands.WirePublication.of(each) for each in publications[:room])
        return commands.HistoryResult(wire, top.epoch, top.offset)

    def _members(self, frame: Frame, channel: str) -> dict[str, ClientInfo]:
        connection = frame.connection
        subscribed = channel in connection.channels
        self._channels.check_presence(channel, connection.user, subscribed=subscribed)
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
