"""Fan-out: bring a shard's subscriptions from the cursor to the end of the stream.

docs/delivery.md, "Order". The steps, each one store call or one post, in the order that matters:

- ``acquire``: inline, take the cursor's lease, which returns sent = s; a drain that finds it held
  by another goes to ``ring``: add a ring on condition that the lease is *still* held, else acquire
  again. (Held by itself is an earlier write of its own, whose answer was lost.)
  With a FIFO queue the group is the lease: the only worker just reads the cursor.
- ``read``: the stream from s up to the last contiguous offset t; a hole below a written offset
  sends it to ``fill`` (a tombstone, on condition that the offset is still free) and back.
- ``rows``: only then read the subscriptions.
- ``send``: one frame with (max(s, deliver_after), t] to a live row; a joining one is marked
  missed = t on condition that this join is still joining and that this does not lower it.
  If the condition fails and the row is live now, it is sent to like any live one.
  Who is gone is forgotten; who failed is taken out (``close``, ``take``, ``cut``); both before
  the cursor moves.
- ``release``: one write: sent = t, no holder, on condition of still holding it and of no ring since
  the last write that returned the rings. If it was rung: ``advance`` (sent = t on condition of
  still holding it; returns the rings) and ``read`` again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.client import alive, cut, receive
from tests.model.rules import FIFO, Mutant, Rules
from tests.model.state import (
    CLOSING,
    DELETED,
    FREE,
    GONE,
    JOINING,
    LIVE,
    OPEN,
    TOMBSTONE,
    Drain,
    Row,
    State,
    Step,
    contiguous,
    hole,
    moved,
    published,
    with_connection,
    with_row,
)

_UNFENCED = (
    Mutant.ADVANCE_ANYWAY,
    Mutant.ADVANCE_FIRST,
    Mutant.NO_LEASE,
    Mutant.REMOVE_AFTER_ADVANCE,
    Mutant.RING_CARRIES_DATA,
)


def steps(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    return _STEPS[me.at](rules, state, me)


def _acquire(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Take the lease: holder = me, on condition that there is none; returns sent and the rings."""
    cursor = state.cursor
    at = "rows" if rules.mutant is Mutant.END_AFTER_ROWS else "read"
    reading = me._replace(at=at, s=cursor.sent, t=cursor.sent)
    if rules.dispatch == FIFO or rules.mutant in (Mutant.NO_LEASE, Mutant.RING_CARRIES_DATA):
        yield f"drain {me.name}: read the cursor, {cursor.sent}", moved(state, me, reading)
    elif cursor.holder and (cursor.holder != me.name or rules.mutant is Mutant.RETRY_AS_NEW):
        held = me._replace(at="ring")
        yield f"drain {me.name}: is held by {cursor.holder}", moved(state, me, held)
    else:
        state = state._replace(cursor=cursor._replace(holder=me.name, rung=False))
        yield f"drain {me.name}: acquire at {cursor.sent}", moved(state, me, reading)
        if state.budget.lost_answers:
            budget = state.budget._replace(lost_answers=state.budget.lost_answers - 1)
            yield f"drain {me.name}: acquire, answer lost", state._replace(budget=budget)


def _ring(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Add a ring, on condition that the lease is still held."""
    if state.cursor.holder or rules.mutant is Mutant.RING_ANYWAY:
        rung = state._replace(cursor=state.cursor._replace(rung=bool(state.cursor.holder)))
        yield f"drain {me.name}: add a ring", moved(rung, me, None)
    else:
        again = me._replace(at="acquire")
        yield f"drain {me.name}: is no longer held", moved(state, me, again)


def _read(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Read the stream from s up to its last contiguous offset t."""
    batch: tuple[int, ...]
    if me.ring:
        batch, t = (me.ring,), max(me.ring, me.s)
    elif rules.mutant is Mutant.NO_FENCE:
        t = max(len(state.items.rstrip(FREE)), me.s)
        batch = published(state.items, me.s, t)
    elif n := hole(state.items, me.s):
        filling = me._replace(at="fill", t=n)
        yield f"drain {me.name}: meet a hole at {n}", moved(state, me, filling)
        return
    else:
        t = contiguous(state.items, me.s)
        batch = published(state.items, _from(rules, state, me), t)
    yield f"drain {me.name}: read ({me.s}, {t}]", _with_batch(rules, state, me, t, batch)


def _from(rules: Rules, state: State, me: Drain) -> int:
    """Where to read from: history_size bounds what is recovered, not what is still to be sent."""
    if rules.mutant is Mutant.FANOUT_TRIMS:
        return max(me.s, len(state.items) - rules.history_size)
    return me.s


def _with_batch(rules: Rules, state: State, me: Drain, t: int, batch: tuple[int, ...]) -> State:
    """With nothing new, the rows are of no interest."""
    due = t > me.s
    if rules.mutant is Mutant.END_AFTER_ROWS:
        return _next(rules, state, me, me._replace(at="send", t=t, batch=batch))
    return moved(state, me, me._replace(at="rows" if due else "release", t=t, batch=batch))


def _fill(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Put a tombstone, on condition that the offset is still free; read again."""
    after = tombstone(rules, state, me.t)
    reading = me._replace(at="read", t=me.s)
    yield f"drain {me.name}: fill {me.t} if it is free", moved(after, me, reading)


def tombstone(rules: Rules, state: State, n: int) -> State:
    before = state.items[n - 1]
    if before == FREE or rules.mutant is Mutant.TOMBSTONE_ANYWAY:
        state = state._replace(items=state.items[: n - 1] + TOMBSTONE + state.items[n:])
    elif before == "-" and rules.mutant is Mutant.EXPIRED_IS_HOLE:
        return state._replace(wrong=f"{n} was accepted, and is a tombstone now")
    if before.isdigit() and state.items[n - 1] == TOMBSTONE:
        return state._replace(wrong=f"{n} was accepted, and is a tombstone now")
    return state


def _rows(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Read the shard's subscriptions."""
    rows = tuple(
        (number, connection.row)
        for number, connection in enumerate(state.connections)
        if connection.row is not None
    )
    label = f"drain {me.name}: read the subscriptions of connections {[n for n, _ in rows]}"
    if rules.mutant is Mutant.END_AFTER_ROWS:
        yield label, moved(state, me, me._replace(at="read", rows=rows))
        return
    if rules.mutant is Mutant.RINGS_AFTER_READ:
        state = state._replace(cursor=state.cursor._replace(rung=False))
    if rules.mutant is Mutant.ADVANCE_FIRST:
        state = state._replace(cursor=state.cursor._replace(sent=me.t))
    yield label, _next(rules, state, me, me._replace(at="send", rows=rows))


def _next(rules: Rules, state: State, me: Drain, to: Drain) -> State:
    """Go on with the first row that is due something; release when there is none."""
    rows = to.rows
    while rows and rows[0][1].state == LIVE and not _due(rules, to, rows[0][1]):
        rows = rows[1:]
    if rows:
        return moved(state, me, to._replace(at="send", rows=rows))
    return moved(state, me, to._replace(at="release", rows=(), batch=()))


def _due(rules: Rules, me: Drain, row: Row) -> tuple[int, ...]:
    """The publications in (max(s, deliver_after), t]."""
    if rules.mutant is Mutant.NO_DELIVER_AFTER:
        return me.batch
    return tuple(n for n in me.batch if n > row.after)


def _send(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    number, row = me.rows[0]
    if row.state == JOINING:
        yield from _meet_joining(rules, state, me)
        return
    connection = state.connections[number]
    due = _due(rules, me, row)
    if connection.gateway == GONE:
        yield f"drain {me.name}: {number} is gone", moved(state, me, me._replace(at="forget"))
        return
    sent = receive(rules, state, number, due)
    yield f"drain {me.name}: send {due} to {number}", _done(rules, sent, me)
    if state.budget.failures:
        budget = state.budget._replace(failures=state.budget.failures - 1)
        for label, at in (("", state), (", but it arrived", sent)):
            failed = _failed(rules, at._replace(budget=budget), me)
            yield f"drain {me.name}: sending {due} to {number} fails{label}", failed


def _done(rules: Rules, state: State, me: Drain) -> State:
    """This row is done with."""
    return _next(rules, state, me, me._replace(rows=me.rows[1:]))


def _failed(rules: Rules, state: State, me: Drain) -> State:
    if rules.mutant is Mutant.KEEP_FAILED:
        return _done(rules, state, me)
    if rules.mutant is Mutant.REMOVE_AFTER_ADVANCE:
        return moved(state, me, me._replace(at="advance first"))
    return moved(state, me, me._replace(at="close"))


def _meet_joining(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Mark a joining row; or, once it is too old to be at work, disconnect it (3010)."""
    number, seen = me.rows[0]
    if rules.impatient or not alive(state, number, seen.join):
        closing = moved(state, me, me._replace(at="close"))
        yield f"drain {me.name}: the join of {number} is too old", closing
    yield from _mark(rules, state, me)


def _mark(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """missed = t, on condition that this join is still joining and has missed less."""
    number, seen = me.rows[0]
    row = state.connections[number].row
    joining = row is not None and (row.state, row.join) == (JOINING, seen.join)
    if row and rules.mutant is Mutant.MARK_ANYWAY:
        state = with_row(state, number, row._replace(missed=me.t))
    elif row and joining and (row.missed < me.t or rules.mutant is Mutant.MARK_LOWERS):
        state = with_row(state, number, row._replace(missed=me.t))
    elif row and row.state == LIVE:
        to = me._replace(rows=((number, row), *me.rows[1:]))
        yield f"drain {me.name}: {number} is live by now", _next(rules, state, me, to)
        return
    yield f"drain {me.name}: mark {number} missed {me.t}", _done(rules, state, me)


def _forget(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Delete the connection's record, which returns its channels; then ``take``."""
    number = me.rows[0][0]
    connection = state.connections[number]._replace(record=DELETED)
    state = with_connection(state, number, connection)
    yield f"drain {me.name}: delete connection {number}", moved(state, me, me._replace(at="take"))


def _close(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Mark the connection closing, which returns its channels; then ``take``."""
    number = me.rows[0][0]
    state = closed(state, number)
    yield f"drain {me.name}: close connection {number}", moved(state, me, me._replace(at="take"))


def closed(state: State, number: int) -> State:
    connection = state.connections[number]
    if connection.record != OPEN:
        return state
    return with_connection(state, number, connection._replace(record=CLOSING))


def _take(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Delete the connection's rows."""
    number = me.rows[0][0]
    gone = state.connections[number].record == DELETED
    state = with_row(state, number, None)
    label = f"drain {me.name}: delete the row of {number}"
    yield label, _done(rules, state, me) if gone else moved(state, me, me._replace(at="cut"))


def _cut(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """The disconnect push and the DELETE."""
    number = me.rows[0][0]
    yield f"drain {me.name}: disconnect {number}", _done(rules, cut(rules, state, number, GONE), me)


def _advance_first(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """Only a mutant: advance, and then take the subscriptions of who failed."""
    state = state._replace(cursor=state.cursor._replace(sent=me.t))
    yield f"drain {me.name}: advance to {me.t}", moved(state, me, me._replace(at="close"))


def _release(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """sent = t and no holder, if it is held by me and was not rung."""
    cursor = state.cursor
    if rules.dispatch == FIFO:
        yield _finish(rules, state, me)
    elif not _holds(rules, state, me):
        yield f"drain {me.name}: has lost the lease", moved(state, me, None)
    elif cursor.rung and rules.mutant is not Mutant.RELEASE_ANYWAY:
        yield f"drain {me.name}: was rung meanwhile", moved(state, me, me._replace(at="advance"))
    else:
        state = _moved_cursor(state, me, holder="")
        yield f"drain {me.name}: release at {me.t}", moved(state, me, None)


def _finish(rules: Rules, state: State, me: Drain) -> Step:
    """The worker of a group: sent = t, on condition that it is s; its doorbells are deleted."""
    if state.cursor.sent == me.s or rules.mutant in _UNFENCED:
        state = _moved_cursor(state, me, holder="")
    return f"drain {me.name}: advance to {me.t}", moved(state, me, None)


def _advance(rules: Rules, state: State, me: Drain) -> Iterator[Step]:
    """sent = t, if it is held by me; returns the rings. Then look again."""
    if not _holds(rules, state, me):
        yield f"drain {me.name}: has lost the lease", moved(state, me, None)
        return
    state = _moved_cursor(state, me, holder=state.cursor.holder)
    at = "rows" if rules.mutant is Mutant.END_AFTER_ROWS else "read"
    again = Drain(me.kind, me.name, at, s=me.t, t=me.t)
    yield f"drain {me.name}: advance to {me.t}, look again", moved(state, me, again)


def _holds(rules: Rules, state: State, me: Drain) -> bool:
    return state.cursor.holder == me.name or rules.mutant in _UNFENCED


def _moved_cursor(state: State, me: Drain, holder: str) -> State:
    before = state.cursor
    cursor = before._replace(sent=me.t, holder=holder, rung=False)
    wrong = state.wrong
    if me.t < before.sent:
        wrong = f"the cursor moves back from {before.sent} to {me.t}"
    return state._replace(cursor=cursor, wrong=wrong)


_STEPS: dict[str, Callable[[Rules, State, Drain], Iterator[Step]]] = {
    "acquire": _acquire,
    "ring": _ring,
    "read": _read,
    "fill": _fill,
    "rows": _rows,
    "send": _send,
    "forget": _forget,
    "close": _close,
    "take": _take,
    "cut": _cut,
    "advance first": _advance_first,
    "release": _release,
    "advance": _advance,
}
