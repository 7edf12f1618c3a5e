"""The frozen value objects that every other module speaks in."""

from dataclasses import dataclass
from enum import Enum


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
