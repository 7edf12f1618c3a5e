"""The frozen value objects that every other module speaks in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

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


@dataclass(frozen=True, slots=True)
class Publication:
    """One event in a channel; ``data`` is the publisher's JSON, on one line, never parsed."""

    data: msgspec.Raw
    info: ClientInfo | None = None
    tags: Mapping[str, str] | None = None


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
    """A channel that a connection is in: the shard of its row, the command that joined it."""

    shard: int
    order: int


@dataclass(frozen=True, slots=True)
class Left:
    """A channel that a connection left: by which command, and when (seconds since the epoch)."""

    order: int
    at: float


@dataclass(frozen=True, slots=True)
class Connection:
    """One WebSocket, named by API Gateway's connection id, which is also the client id.

    ``dialect`` is empty until the connection has identified itself; ``user`` is empty for an
    anonymous one. Times are seconds since the epoch.
    """

    id: str
    connected_at: float
    expires_at: float
    dialect: str = ""
    user: str = ""
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
            )
            for channel, entry in self.channels.items()
        ]

    @property
    def info(self) -> ClientInfo:
        return ClientInfo(user=self.user, client=self.id)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A connection in a channel; ``order`` is the command that joined it (see hub.py)."""

    channel: str
    shard: int
    connection_id: str
    order: int
    dialect: str
    expires_at: float
    batch: bool = False
    user: str = ""
