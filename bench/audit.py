"""What one client heard of one channel, held against what was published there. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

Event = Mapping[str, Any]


@dataclass(slots=True)
class Audit:
    """What came of it, for one client and channel or, added up, for many.

    Attributes:
        heard: Publications that arrived, each as often as it did.
        duplicates: Those that had arrived before.
        recoveries: Times that the client came back and was told that it missed nothing.
        forgiven: Times that it was told that something is missing for good, and that was so.
        unrecovered: Times that it was told so, though everything was there to be recovered.
        lost: Publications that it should have heard, and never did.
        disorder: Publications that first arrived when a later one had arrived already.
        corrupt: Publications that are not what was published at their offset.
    """

    heard: int = 0
    duplicates: int = 0
    recoveries: int = 0
    forgiven: int = 0
    unrecovered: int = 0
    lost: int = 0
    disorder: int = 0
    corrupt: int = 0

    def __add__(self, other: "Audit") -> "Audit":
        names = [each.name for each in fields(Audit)]
        return Audit(**{name: getattr(self, name) + getattr(other, name) for name in names})


def audit(events: Iterable[Event], stream: Mapping[int, object], *, upto: int, keeps: int) -> Audit:
    """Hold the events of one subscription against its stream.

    The client owes nothing below the position at which it first subscribed, nor between what it
    had and the position at which it was told ``recovered: false``.

    Args:
        events: ``subscribed`` and ``publication``, as the SDK told them.
        stream: What was published, by offset; an offset that is missing was never a publication.
        upto: The last offset that it must have.
        keeps: So many offsets behind the top, or fewer, it must be able to recover.
    """
    result = Audit()
    owed = _Owed(stream, upto)
    seen: set[int] = set()
    newest = last = 0
    for event in events:
        if event["event"] == "subscribed":
            result.recoveries += bool(event["was_recovering"] and event["recovered"])
            if not event["recovered"]:
                offset = event.get("offset", 0)
                if event["was_recovering"]:
                    is_fair = offset - last > keeps
                    result.forgiven += is_fair
                    result.unrecovered += not is_fair
                owed.forgive(newest if event["was_recovering"] else 0, offset)
        elif event["event"] == "publication":
            offset = event["offset"]
            result.heard += 1
            result.duplicates += offset in seen
            result.disorder += offset not in seen and offset < newest
            result.corrupt += offset not in stream or stream[offset] != event["data"]
            seen.add(offset)
            newest, last = max(newest, offset), offset
    result.lost = len(owed.offsets - seen)
    return result


class _Owed:
    """The offsets that a client must hear of."""

    def __init__(self, stream: Mapping[int, object], upto: int) -> None:
        self.offsets = {offset for offset in stream if offset <= upto}

    def forgive(self, above: int, upto: int) -> None:
        self.offsets -= {offset for offset in self.offsets if above < offset <= upto}


def total(audits: Sequence[Audit]) -> Audit:
    return sum(audits, Audit())
