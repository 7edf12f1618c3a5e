"""What a token lets its connection do, channel by channel. Pure.

The claim is that of Centrifugo PRO, with two differences, both on the safe side to read and to
write: rules are a union (there, the first that names the channel decides), and ``*`` never stands
for ``#``, so that ``chat:*`` does not open ``chat:dialog#1,2`` to anybody but its users.
https://centrifugal.dev/docs/pro/capabilities
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import msgspec

from chalicelib import limits

# Bytes of a connection's rules as JSON. They are stored with the connection, which is read at
# every frame of its client: each 4 KB more costs one more read unit.
CAPABILITIES_BYTES = 8 * 1024


class Operation(Enum):
    """What a client may ask of a channel, by its name in the ``caps`` claim."""

    SUBSCRIBE = "sub"
    PUBLISH = "pub"
    PRESENCE = "prs"
    HISTORY = "hst"


class Match(Enum):
    """How a rule's channels are read: as they stand, or with ``*`` for any run of characters."""

    EXACT = "exact"
    WILDCARD = "wildcard"


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.CHANNEL_CHARACTERS)]


class Rule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One object of the claim; what it does not know (a ``deny``, a regex) it refuses to ignore."""

    channels: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1)]
    allow: Annotated[tuple[Operation, ...], msgspec.Meta(min_length=1)]
    match: Match = Match.EXACT

    def allows(self, operation: Operation, channel: str) -> bool:
        if operation not in self.allow:
            return False
        if self.match is Match.EXACT:
            return channel in self.channels
        return any(matches(pattern, channel) for pattern in self.channels)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The rules of one connection; none: it may do what the channels' options let anybody do."""

    rules: tuple[Rule, ...] = ()

    def allows(self, operation: Operation, channel: str) -> bool:
        """Whether any rule does."""
        return any(rule.allows(operation, channel) for rule in self.rules)

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> "Capabilities":
        """Raises: ValueError when they take more than ``CAPABILITIES_BYTES`` as JSON."""
        made = cls(tuple(rules))
        size = len(made.to_json().encode())
        if size > CAPABILITIES_BYTES:
            raise ValueError(f"caps has {size} bytes, at most {CAPABILITIES_BYTES}")
        return made

    def to_json(self) -> str:
        """The rules on one line, to be stored with a connection; empty for none."""
        return msgspec.json.encode(self.rules).decode() if self.rules else ""

    @classmethod
    def from_json(cls, text: str) -> "Capabilities":
        """What ``to_json`` made. Raises: msgspec.MsgspecError for anything else."""
        return cls(msgspec.json.decode(text, type=tuple[Rule, ...])) if text else cls()


def matches(pattern: str, channel: str) -> bool:
    """Whether a pattern, whose ``*`` stand for any run of characters but ``#``, fits a channel.

    Each part between two ``*`` is taken where it first occurs, so the time is that of a search,
    whatever the pattern; a later place could only widen a gap.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return pattern == channel
    if not channel.startswith(first):
        return False
    at = len(first)
    *middle, last = parts
    for part in middle:
        found = channel.find(part, at)
        if found < 0 or "#" in channel[at:found]:
            return False
        at = found + len(part)
    end = len(channel) - len(last)
    return end >= at and channel.endswith(last) and "#" not in channel[at:end]
