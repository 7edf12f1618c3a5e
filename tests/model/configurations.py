"""What is explored: many small worlds, each with one or two things that may go wrong.

Without ``joined`` a world begins with its clients' first joins. ``connections`` is one more for
each time that a client may have to come back.
"""

from __future__ import annotations

from tests.model.rules import FIFO, TOP, Mutant, Rules

DRAINS = frozenset({"drain"})
JOINERS = frozenset({"joiner"})

SMALL = {
    "a join among publications": Rules(),
    "two joins beside a publication": Rules(publishers=1, clients=2),
    "three publications": Rules(publishers=3, joined=True),
    "three publications, any process crashes": Rules(publishers=3, joined=True, crashes=1),
    "a join, any process crashes": Rules(crashes=1, connections=2),
    "a join, two crashes": Rules(publishers=1, crashes=2, connections=3),
    "a join, a slow holder loses the lease": Rules(expiries=1),
    "a join, one holder is slow, one crashes": Rules(expiries=1, crashes=1, crashable=DRAINS),
    "two clients, a post fails": Rules(clients=2, joined=True, failures=1, connections=3),
    "a join, a post fails": Rules(failures=1, connections=2),
    "a join, a post fails and a crash": Rules(publishers=1, failures=1, crashes=1, connections=3),
    "a join that is taken for dead": Rules(impatient=True, connections=2),
    "a slow holder, a post fails": Rules(joined=True, expiries=1, failures=1, connections=2),
    "a cut": Rules(joined=True, cuts=1, connections=2),
    "a cut during the first join": Rules(publishers=1, cuts=1, connections=2),
    "a cut and a crash": Rules(publishers=1, joined=True, cuts=1, crashes=1, connections=3),
    "answers of writes are lost": Rules(joined=True, lost_answers=2, crashes=1),
    "unsubscribe": Rules(publishers=1, unsubscribes=1),
    "unsubscribe, subscribe during a join": Rules(publishers=1, resubscribes=1, once=False),
    "unsubscribe, subscribe": Rules(joined=True, resubscribes=1, once=False),
    "unsubscribe, subscribe, a slow holder": Rules(
        joined=True, expiries=1, resubscribes=1, once=False
    ),
    "unsubscribe, subscribe, any process crashes": Rules(
        publishers=1, joined=True, crashes=1, resubscribes=1, connections=3, once=False
    ),
    "recovery of a trimmed stream": Rules(joined=True, cuts=1, connections=2, history_size=1),
    "recovery of an expired stream": Rules(joined=True, cuts=1, connections=2, expirations=1),
    "recovery over the limit": Rules(joined=True, cuts=1, connections=2, limit=1),
    "recovery in several frames": Rules(
        joined=True, cuts=1, connections=2, frame=1, crashes=1, crashable=JOINERS
    ),
    "a join at the head's top": Rules(fresh=TOP),
    "a join at the head's top, a slow holder": Rules(fresh=TOP, expiries=1),
    "every join can read where it joined": Rules(readable=True),
    "queue: a join among publications": Rules(dispatch=FIFO),
    "queue: a crash, bad rings": Rules(
        dispatch=FIFO, publishers=3, joined=True, crashes=1, lost_rings=1, repeated_rings=1
    ),
    "queue: a cut, a worker crashes": Rules(
        dispatch=FIFO, joined=True, cuts=1, connections=2, crashes=1, crashable=DRAINS
    ),
}

LARGE = {
    "three publications beside a join": Rules(publishers=3),
    "three publications beside a join, a slow holder": Rules(publishers=3, expiries=1),
    "two joins among publications": Rules(clients=2),
    "a join, two crashes of any process": Rules(crashes=2, connections=3),
    "a cut during the first join, two publications": Rules(cuts=1, connections=2),
    "a cut and a crash, two publications": Rules(joined=True, cuts=1, crashes=1, connections=3),
    "a cut and a slow holder": Rules(joined=True, cuts=1, connections=2, expiries=1),
    "two clients, two posts fail": Rules(clients=2, joined=True, failures=2, connections=4),
    "a cut, unsubscribe, subscribe": Rules(
        publishers=1, cuts=1, resubscribes=1, connections=2, once=False
    ),
    "unsubscribe, subscribe, a post fails": Rules(
        joined=True, failures=1, resubscribes=1, connections=2, once=False
    ),
    "a cut during a join at the head's top": Rules(fresh=TOP, cuts=1, connections=2),
    "a join at the head's top, a crash": Rules(fresh=TOP, crashes=1, connections=2),
    "recovery in several frames, a slow holder": Rules(
        joined=True, cuts=1, connections=2, frame=1, expiries=1
    ),
    "recovery of a trimmed stream, three publications": Rules(
        publishers=3, joined=True, cuts=1, connections=2, history_size=1
    ),
    "queue: a join, a crash, bad rings": Rules(
        dispatch=FIFO, crashes=1, lost_rings=1, repeated_rings=1, connections=2
    ),
    "queue: a cut during the first join": Rules(dispatch=FIFO, cuts=1, connections=2),
}


# Where each mutant breaks: the smallest world in which it does.
BREAKS = {
    Mutant.RING_CARRIES_DATA: Rules(dispatch=FIFO, joined=True),
    Mutant.NO_FENCE: Rules(joined=True),
    Mutant.TOMBSTONE_ANYWAY: Rules(joined=True),
    Mutant.PUBLISH_ANYWAY: Rules(joined=True),
    Mutant.RETRY_AS_NEW: Rules(publishers=1, joined=True, lost_answers=1),
    Mutant.EXPIRED_IS_HOLE: Rules(joined=True, expirations=1, cuts=1, connections=2),
    Mutant.NO_LEASE: Rules(joined=True),
    Mutant.END_AFTER_ROWS: Rules(),
    Mutant.ADVANCE_FIRST: Rules(publishers=1, joined=True, crashes=1),
    Mutant.ADVANCE_ANYWAY: Rules(joined=True, expiries=1),
    Mutant.RELEASE_ANYWAY: Rules(joined=True),
    Mutant.RING_ANYWAY: Rules(joined=True),
    Mutant.RINGS_AFTER_READ: Rules(joined=True),
    Mutant.SWEEP_BEHIND_ONLY: Rules(publishers=1, crashes=1, connections=2),
    Mutant.FANOUT_TRIMS: Rules(joined=True, history_size=1),
    Mutant.KEEP_FAILED: Rules(joined=True, failures=1, connections=2),
    Mutant.REMOVE_AFTER_ADVANCE: Rules(joined=True, failures=1, crashes=1, connections=2),
    Mutant.MARK_ANYWAY: Rules(),
    Mutant.MARK_LOWERS: Rules(expiries=1),
    Mutant.READ_BEFORE_ROW: Rules(publishers=1),
    Mutant.ROW_AFTER_MAP: Rules(publishers=0, unsubscribes=1),
    Mutant.FLIP_BEFORE_REPLY: Rules(publishers=1),
    Mutant.READ_ON_ANYWAY: Rules(joined=True, cuts=1, connections=2, expirations=1),
    Mutant.FLIP_ANYWAY: Rules(publishers=1),
    Mutant.NO_DELIVER_AFTER: Rules(publishers=1),
    Mutant.PARTIAL_REPLY: Rules(joined=True, cuts=1, connections=2, limit=1),
    Mutant.NO_COMMAND_IDS: Rules(publishers=1, joined=True, resubscribes=1, once=False),
}

# What the algorithm does not promise, each with the world that shows why.
NOT_PROMISED = {
    "a join at the head's top can be read": Rules(fresh=TOP, readable=True),
    "unsubscribe, subscribe brings no duplicate": Rules(publishers=1, joined=True, resubscribes=1),
}
