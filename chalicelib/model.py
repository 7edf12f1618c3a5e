"""The frozen value objects that every other module speaks in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

import msgspec

from chalicelib.errors import DisconnectCode


class Delivery(Enum):
    """What became of one recipient."""

    DELIVERED = "delivered"
    GONE = "gone"  # API Gateway answered 410: the connection no longer exists
    FAILED = "failed"  # still refused when the deadline came


@dataclass(frozen=True, slots=True)
class Post:
    """What one connection is to be sent: text frames in UTF-8, posted one after another.

    A frame is at most 128 KB (``limits.MESSAGE_BYTES``); when one is not delivered, the frames
    after it are not sent.
    """

    connection_id: str
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """How many recipients of a fan-out had which outcome."""

    delivered: int = 0
    gone: int = 0
    failed: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.delivered + other.delivered, self.gone + other.gone, self.failed + other.failed
        )


class ClientInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who published or is present, as other clients see it (Centrifugo's ``ClientInfo``)."""

    user: str
    client: str
    conn_info: msgspec.Raw | None = None


def client_info(user: str, client: str, info: str) -> ClientInfo:
    """Who somebody is, with what their token says of them."""
    return ClientInfo(user, client, msgspec.Raw(info.encode()) if info else None)


@dataclass(frozen=True, slots=True)
class Publication:
    """One event in a channel; ``data`` is the publisher's JSON, on one line, never parsed.

    ``offset`` is 0 where the channel keeps no history; ``time`` is in ms since the epoch;
    ``exclude`` names a client that shall not get it live.
    """

    data: msgspec.Raw
    info: ClientInfo | None = None
    tags: Mapping[str, str] | None = None
    offset: int = 0
    time: int = 0
    exclude: str = ""


class Position(msgspec.Struct, frozen=True):
    """Where a reader is in a stream; ``epoch`` names the stream's life, empty stands for any."""

    offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a stream: its last allocated offset, and its life.

    ``at`` and ``prior_at`` are when ``top`` and the offset below it were allocated, in seconds
    since the epoch; offsets up to ``floor`` were removed from the history.
    """

    top: int
    epoch: str
    at: float
    prior_at: float = 0.0
    floor: int = 0

    @property
    def position(self) -> Position:
        return Position(self.top, self.epoch)


@dataclass(frozen=True, slots=True)
class Slot:
    """What stands at an offset: a publication, or None for a tombstone.

    ``prior_at`` is when the offset below was allocated, 0 if that is not known; ``key`` is the
    publication's idempotency key, if it had one. ``lost``: a tombstone where there may have been a
    publication that has expired, so that whoever needs it has a gap.
    """

    offset: int
    epoch: str
    publication: Publication | None
    expires_at: float
    prior_at: float = 0.0
    key: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a stream as it was read: slots by rising offset, the head if it was reached."""

    head: Head | None
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a shard has been sent, in which life of the stream; how often it was rung."""

    sent: int
    epoch: str
    rings: int

    @property
    def position(self) -> Position:
        return Position(self.sent, self.epoch)


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Why a connection ends, as its client is told: code, reason."""

    code: int
    reason: str

    @classmethod
    def of(cls, why: DisconnectCode) -> "Disconnect":
        return cls(why.code, why.reason)


@dataclass(frozen=True, slots=True)
class Membership:
    """A channel that a connection is in: the shard of its row, the command that joined it, when.

    ``at`` is in seconds since the epoch.
    """

    shard: int
    order: int
    at: float


@dataclass(frozen=True, slots=True)
class Left:
    """A channel that a connection left: by which command, and when (seconds since the epoch)."""

    order: int
    at: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection belongs to, by its token; all empty for an anonymous one.

    ``info`` (JSON, shown to other clients) and ``capabilities`` (see capabilities.py) are texts;
    ``ends_at``: when the token ends, in seconds since the epoch, 0: never.
    """

    user: str = ""
    info: str = ""
    capabilities: str = ""
    ends_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Connection:
    """One WebSocket, named by API Gateway's connection id, which is also the client id.

    ``dialect`` is empty until the connection has identified itself. Times are seconds
    since the epoch.
    """

    id: str
    connected_at: float
    expires_at: float
    dialect: str = ""
    identity: Identity = Identity()
    closing: bool = False
    channels: Mapping[str, Membership] = field(default_factory=dict)
    left: Mapping[str, Left] = field(default_factory=dict)

    def newest_order(self, channel: str) -> int:
        """The highest order of any command that is known for a channel; -1: none is."""
        entry, left = self.channels.get(channel), self.left.get(channel)
        return max(entry.order if entry else -1, left.order if left else -1)

    @property
    def subscriptions(self) -> list["Subscription"]:
        """The rows that this connection has, as far as they are needed to delete them."""
        return [
            Subscription(
                channel=channel,
                shard=entry.shard,
                connection_id=self.id,
                order=entry.order,
                dialect=self.dialect,
                expires_at=self.expires_at,
                user=self.user,
                info=self.identity.info,
            )
            for channel, entry in self.channels.items()
        ]

    @property
    def user(self) -> str:
        return self.identity.user

    @property
    def client_info(self) -> ClientInfo:
        return client_info(self.user, self.id, self.identity.info)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A connection in a channel; ``order`` is the command that joined it (see hub.py).

    It is ``joining`` since that time, or live (0): then it gets what comes after the offset
    ``deliver_after`` of the stream's life ``epoch``. ``missed`` is the last offset that it was
    not sent because it was joining. ``token_ends_at``: when its own token ends; ``skip_after``:
    when one of the tokens that it rests on is over, the grace included; 0: never.
    """

    channel: str
    shard: int
    connection_id: str
    order: int
    dialect: str
    expires_at: float
    batch: bool = False
    user: str = ""
    info: str = ""
    token_ends_at: float = 0.0
    skip_after: float = 0.0
    hears_joins: bool = False
    joining_since: float = 0.0
    deliver_after: int = 0
    epoch: str = ""
    missed: int = 0

    @property
    def client_info(self) -> ClientInfo:
        return client_info(self.user, self.connection_id, self.info)
