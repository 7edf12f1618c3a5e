"""The bounds of a configuration, and the mutants: algorithms that look right and are not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

INLINE, FIFO = "inline", "fifo"
CONTIGUOUS, TOP = "contiguous", "top"
EVERYTHING = frozenset({"publisher", "drain", "joiner", "leaver"})


class Mutant(Enum):
    """One deviation from the algorithm each; the value says what it does instead."""

    RING_CARRIES_DATA = "deliver the publication that the ring names, not what the stream holds"
    NO_FENCE = "pass over a hole without a tombstone in it"
    TOMBSTONE_ANYWAY = "fill a hole without looking whether it is still free"
    PUBLISH_ANYWAY = "write a publication without looking whether its offset is still free"
    RETRY_AS_NEW = "take one's own earlier write for somebody else's, and allocate again"
    EXPIRED_IS_HOLE = "take an expired publication for a hole, and fill it"
    NO_LEASE = "drain without holding the shard"
    END_AFTER_ROWS = "choose the end offset after reading the subscriptions"
    ADVANCE_FIRST = "advance the cursor before sending"
    ADVANCE_ANYWAY = "advance the cursor without still holding it"
    RELEASE_ANYWAY = "release the shard without looking at the rings"
    RING_ANYWAY = "add a ring without looking whether the shard is still held"
    RINGS_AFTER_READ = "count the rings to release by after reading the stream"
    SWEEP_BEHIND_ONLY = "sweep what is behind, and never look for a row whose join has died"
    FANOUT_TRIMS = "apply history_size to what is still to be sent"
    KEEP_FAILED = "advance past a recipient that failed, and keep its subscription"
    REMOVE_AFTER_ADVANCE = "take the subscriptions of a recipient that failed after the advance"
    MARK_ANYWAY = "mark a row missed without looking whether it is still joining"
    MARK_LOWERS = "mark a row missed with a lower offset than it has"
    READ_BEFORE_ROW = "read the stream before the row is there"
    ROW_AFTER_MAP = "put the row after the connection's map entry"
    FLIP_BEFORE_REPLY = "flip to live before the reply"
    READ_ON_ANYWAY = "read on after t without looking whether it is all still there"
    FLIP_ANYWAY = "flip to live without looking at missed"
    NO_DELIVER_AFTER = "send a live row what its reply already held"
    PARTIAL_REPLY = "recover only the newest page, and call it recovered"
    NO_COMMAND_IDS = "handle subscribe and unsubscribe in the order of arrival"


@dataclass(frozen=True)
class Rules:
    """A configuration: how many of each, what may go wrong how often, and which algorithm.

    ``connections`` bounds those of all clients together: a client cut after the last of them stays
    away. ``expiries``: how often the lease of a holder that is merely slow may expire; that of a
    crashed holder always may. ``frame``, ``limit`` and ``history_size`` are publications; 0 is no
    bound. ``fresh``: whether a subscribe without a position joins at the last contiguous offset
    or at the head's top, written or not. ``readable``: require that whoever has joined at an offset
    could read everything up to it. ``once``: require that nothing is sent twice without a fault.
    ``impatient``: a drain may take a join for dead whose handler is still at work.
    """

    dispatch: str = INLINE
    publishers: int = 2
    clients: int = 1
    connections: int = 1
    joined: bool = False
    crashable: frozenset[str] = EVERYTHING
    cuts: int = 0
    crashes: int = 0
    expiries: int = 0
    failures: int = 0
    lost_rings: int = 0
    repeated_rings: int = 0
    lost_answers: int = 0
    resubscribes: int = 0
    unsubscribes: int = 0
    expirations: int = 0
    fresh: str = CONTIGUOUS
    readable: bool = False
    once: bool = True
    impatient: bool = False
    frame: int = 0
    limit: int = 0
    history_size: int = 0
    retries: int = 2
    mutant: Mutant | None = None
