"""What a client can say and be told, whatever the dialect.

Field names and meanings are those of Centrifugo's client protocol:
https://github.com/centrifugal/protocol/blob/master/definitions/client.proto
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import msgspec

from chalicelib import limits
from chalicelib.errors import ClientError, ErrorCode
from chalicelib.model import ClientInfo, Disconnect, Position, Publication

Id = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

# -- What a client says ---------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True):
    """The root of the commands; ``name`` is the word for it in both dialects."""

    name: ClassVar[str]


class Resume(msgspec.Struct, frozen=True):
    """Where a client is in a channel that the server had put it into."""

    recover: bool = False
    offset: Offset = 0
    epoch: str = ""


class Connect(Command, frozen=True):
    """The first command of a connection: who it is, and what it knows of server-side channels."""

    name = "connect"
    token: str = ""
    subs: dict[str, Resume] = {}


REJECT_UNRECOVERED = 2  # a bit of Subscribe.flag: error 112 rather than `recovered: false`


class Subscribe(Command, frozen=True):
    """Enter a channel, if ``recover`` is set with what came after a position.

    ``join_leave``: tell me who comes and goes. ``batch`` (action dialect): several publications
    may share a frame.
    """

    name = "subscribe"
    channel: str
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: Offset = 0
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    flag: int = 0
    batch: bool = False


class Unsubscribe(Command, frozen=True):
    """Leave a channel."""

    name = "unsubscribe"
    channel: str


class Publish(Command, frozen=True):
    """Send ``data`` to everyone in a channel."""

    name = "publish"
    channel: str
    data: msgspec.Raw


class History(Command, frozen=True):
    """Read a channel's history; a limit of 0 asks for its position only, below 0 for all."""

    name = "history"
    channel: str
    limit: int = 0
    since: Position | None = None
    reverse: bool = False


class Presence(Command, frozen=True):
    """Ask who is in a channel."""

    name = "presence"
    channel: str


class PresenceStats(Command, frozen=True):
    """Ask how many are in a channel."""

    name = "presence_stats"
    channel: str


class Refresh(Command, frozen=True):
    """A newer connection token."""

    name = "refresh"
    token: str


class SubRefresh(Command, frozen=True):
    """A newer subscription token."""

    name = "sub_refresh"
    channel: str
    token: str


class Rpc(Command, frozen=True):
    """Call a method that the application registered (rpc.py)."""

    name = "rpc"
    method: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Send(Command, frozen=True):
    """A message to the application that gets no reply."""

    name = "send"
    data: msgspec.Raw = msgspec.Raw(b"null")


class Ping(Command, frozen=True):
    """Ask for a sign of life."""

    name = "ping"


COMMANDS: Mapping[str, type[Command]] = {
    kind.name: kind
    for kind in (
        Connect,
        Subscribe,
        Unsubscribe,
        Publish,
        History,
        Presence,
        PresenceStats,
        Refresh,
        SubRefresh,
        Rpc,
        Send,
        Ping,
    )
}


@dataclass(frozen=True, slots=True)
class Request:
    """A command with its id; 0 means that no reply is expected or that none can be matched."""

    id: int
    command: Command


# -- What a client is told ------------------------------------------------------------------------


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The root of the results of commands that succeeded."""

    name: ClassVar[str]


class WirePublication(msgspec.Struct, frozen=True, omit_defaults=True):
    """A publication as both dialects spell it."""

    data: msgspec.Raw
    info: ClientInfo | None = None
    offset: int = 0
    tags: Mapping[str, str] | None = None
    time: int = 0

    @classmethod
    def of(cls, publication: Publication) -> "WirePublication":
        return cls(
            data=publication.data,
            info=publication.info,
            offset=publication.offset,
            tags=publication.tags or None,
            time=publication.time,
        )


class SubscribeResult(Result, frozen=True, omit_defaults=True):
    """The connection is in the channel, as of a position."""

    name = "subscribe"
    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: tuple[WirePublication, ...] = ()
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    was_recovering: bool = False


class ConnectResult(Result, frozen=True, omit_defaults=True):
    """``client`` is the connection's id; ``ping``: seconds between pings, 0 if there are none.

    ``ttl``: seconds until the token ends, if it ``expires``. ``subs``: server-side subscriptions.
    """

    name = "connect"
    client: str
    version: str
    expires: bool = False
    ttl: int = 0
    ping: int = 0
    subs: dict[str, SubscribeResult] = {}


class RefreshResult(Result, frozen=True, omit_defaults=True):
    """The newer token is taken."""

    name = "refresh"
    client: str
    version: str
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(Result, frozen=True, omit_defaults=True):
    """The newer subscription token is taken."""

    name = "sub_refresh"
    expires: bool = False
    ttl: int = 0


class UnsubscribeResult(Result, frozen=True):
    """The connection is not in the channel."""

    name = "unsubscribe"


class PublishResult(Result, frozen=True):
    """The publication was accepted."""

    name = "publish"


class HistoryResult(Result, frozen=True):
    """What was published, and the top of the stream."""

    name = "history"
    publications: tuple[WirePublication, ...]
    epoch: str
    offset: int


class PresenceResult(Result, frozen=True):
    """Who is there, by client id."""

    name = "presence"
    presence: Mapping[str, ClientInfo]


class PresenceStatsResult(Result, frozen=True):
    """How many clients, and how many different users, are there."""

    name = "presence_stats"
    num_clients: int
    num_users: int


class RpcResult(Result, frozen=True):
    """What the method returned."""

    name = "rpc"
    data: msgspec.Raw


class PingResult(Result, frozen=True):
    """A sign of life."""

    name = "ping"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the command of that id."""

    id: int
    answer: Result | ClientError


@dataclass(frozen=True, slots=True)
class Pub:
    """Push: a publication in a channel."""

    channel: str
    publication: Publication


@dataclass(frozen=True, slots=True)
class Join:
    """Push: somebody entered a channel."""

    channel: str
    info: ClientInfo


@dataclass(frozen=True, slots=True)
class Leave:
    """Push: somebody left a channel."""

    channel: str
    info: ClientInfo


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """Push: the server took the connection out of a channel."""

    channel: str
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Push: the server put the connection into a channel, as of a position."""

    channel: str
    result: SubscribeResult


Push = Pub | Join | Leave | Unsubscribed | Subscribed | Disconnect
Message = Reply | Push


# -- Dialects -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way to spell commands and messages: two pure functions.

    ``decode(text)`` yields, in order, the requests of a frame; what cannot be understood is a
    Reply that says why, ready to be sent. ``encode(messages)`` yields the objects on the wire,
    each one JSON text on one line; ``joins``: several of them may share a frame. ``gather``: the
    publications of one channel as a single object, where a client asked for that.
    ``needs_connect``: nothing else is heard before a connect command.
    """

    name: str
    decode: Callable[[str], Sequence["Request | Reply"]]
    encode: Callable[[Message], bytes]
    joins: bool
    needs_connect: bool
    gather: Callable[[str, Sequence[Publication]], bytes] | None = None

    def publications(
        self, channel: str, publications: Sequence[Publication], *, batch: bool
    ) -> tuple[bytes, ...]:
        """The publications of a channel, in order, in as few frames as possible."""
        if not (batch and self.gather) or len(publications) < 2:
            return self.frames([Pub(channel, publication) for publication in publications])
        gather = partial(self.gather, channel)
        return tuple(gather(each) for each in _batches(publications))

    def frames(self, messages: Sequence[Message]) -> tuple[bytes, ...]:
        """The messages, in order, in as few frames of at most 128 KB as the dialect allows."""
        frames: list[bytes] = []
        for message in map(self.encode, messages):
            if self.joins and frames and len(frames[-1]) + 1 + len(message) <= limits.MESSAGE_BYTES:
                frames[-1] += b"\n" + message
            else:
                frames.append(message)
        return tuple(frames)


# Bytes of a frame that gathers publications: the event around them, and around each, needs room.
GATHERED_BYTES = 96 * 1024


def _batches(publications: Sequence[Publication]) -> Iterator[Sequence[Publication]]:
    """The publications in runs that fit into a frame."""
    start, size = 0, 0
    for place, publication in enumerate(publications):
        weight = wire_size(publication)
        if place > start and size + weight > GATHERED_BYTES:
            yield publications[start:place]
            start, size = place, 0
        size += weight
    yield publications[start:]


def wire_size(publication: Publication) -> int:
    """Bytes of a publication on the wire."""
    return len(encode_json(WirePublication.of(publication)))


def fitting(publications: Sequence[Publication], most: int) -> int:
    """How many of the publications, from the first, fit into so many bytes."""
    for count, publication in enumerate(publications):
        most -= wire_size(publication) + 1
        if most < 0:
            return count
    return len(publications)


encode_json = msgspec.json.Encoder().encode


def one_line(raw: bytes) -> msgspec.Raw:
    """A JSON text without line breaks, which JSON allows only where they mean nothing."""
    if b"\n" in raw or b"\r" in raw:
        raw = raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return msgspec.Raw(raw)


def bad_request(detail: str) -> ClientError:
    return ClientError(ErrorCode.BAD_REQUEST, detail)


def describe(error: msgspec.MsgspecError, where: str) -> str:
    """msgspec's sentence, with ``where`` for the root of its path (``$``)."""
    text = str(error).replace("`$.", f"`{where}.").replace("`$[", f"`{where}[")
    return text if f"`{where}" in text else f"{where}: {text}"


class WireError(msgspec.Struct, frozen=True):
    """An error as both dialects spell it."""

    code: int
    message: str
    temporary: bool

    @classmethod
    def of(cls, error: ClientError) -> "WireError":
        return cls(error.reason.code, error.message, error.reason.temporary)
