"""Join: the handler of one subscribe command.

docs/delivery.md, "Join is seamless". The steps:

- ``put``: the row, joining, with this command's id, unless a later command's row is there
- ``map``: the connection's map entry, on condition that the connection is open and that the entry
  has no later command; else ``unput``: delete the row again
- ``read``: the stream; a fresh join takes its last contiguous offset (or the head's top) as t,
  a recovering one everything after its position. It may fill a hole that it meets, or end below.
- ``reply``: post the reply, which ends at t; with more than fits, ``push`` the rest
- ``flip``: live, deliver_after = t, on condition that it is still this join and that missed is
  absent or <= t. If it has missed more: ``read on`` from t, ``push``, ``flip`` again; after too
  many of these it is disconnected (3010).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.client import cut, receive, receive_reply
from tests.model.fanout import closed, tombstone
from tests.model.rules import TOP, Mutant, Rules
from tests.model.state import (
    DELETED,
    EXPIRED,
    FRESH,
    GONE,
    JOINING,
    LIVE,
    OPEN,
    Joiner,
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


def steps(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    return _STEPS[me.at](rules, state, me)


def _label(me: Joiner, text: str) -> str:
    return f"subscribe {me.command} of {me.connection}: {text}"


def _put(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Put the row, joining, on condition that there is none of this or a later command."""
    row = state.connections[me.connection].row
    if row and row.join >= me.command and rules.mutant is not Mutant.NO_COMMAND_IDS:
        yield _label(me, "is overtaken"), moved(state, me, None)
        return
    state = with_row(state, me.connection, Row(JOINING, me.command))
    after_map = rules.mutant is Mutant.ROW_AFTER_MAP
    yield (
        _label(me, "put the row"),
        moved(state, me, me._replace(at="read" if after_map else "map")),
    )


def _map(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Enter the command into the connection's map, if it is open and holds no later command."""
    connection = state.connections[me.connection]
    later = connection.command >= me.command and rules.mutant is not Mutant.NO_COMMAND_IDS
    if connection.record != OPEN or later:
        yield _label(me, "is too late for the map"), moved(state, me, me._replace(at="unput"))
        return
    state = with_connection(state, me.connection, connection._replace(command=me.command))
    yield _label(me, "enter the map"), moved(state, me, me._replace(at=_after_map(rules)))


def _after_map(rules: Rules) -> str:
    if rules.mutant is Mutant.ROW_AFTER_MAP:
        return "put"
    if rules.mutant is Mutant.FLIP_BEFORE_REPLY:
        return "read"
    return "reply" if rules.mutant is Mutant.READ_BEFORE_ROW else "read"


def _unput(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Delete the row again, on condition that it is this join's."""
    row = state.connections[me.connection].row
    if row and row.join == me.command:
        state = with_row(state, me.connection, None)
    yield _label(me, "delete the row again"), moved(state, me, None)


def _read(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Read the stream: what the reply will hold, and where it ends."""
    t = contiguous(state.items, me.since)
    if me.since == FRESH:
        t = len(state.items) if rules.fresh == TOP else t
        yield _label(me, f"join at {t}"), _to_reply(rules, state, me._replace(t=t), me)
        return
    yield from _maybe_fill(rules, state, me, at="read")
    recovered = _recoverable(rules, state, me, t)
    batch = published(state.items, me.since, t) if recovered else ()
    if rules.mutant is Mutant.PARTIAL_REPLY:
        batch = batch[-rules.limit :]
    read = me._replace(t=t, batch=batch, recovered=recovered)
    yield _label(me, f"recover ({me.since}, {t}]: {recovered}"), _to_reply(rules, state, read, me)


def _to_reply(rules: Rules, state: State, read: Joiner, me: Joiner) -> State:
    if rules.mutant is Mutant.READ_BEFORE_ROW:
        return moved(state, me, read._replace(at="put"))
    at = "flip" if rules.mutant is Mutant.FLIP_BEFORE_REPLY else "reply"
    return moved(state, me, read._replace(at=at))


def _recoverable(rules: Rules, state: State, me: Joiner, t: int) -> bool:
    """Is everything in (since, t] there, and no more than the limit?

    An absent offset at or below a cursor has been a publication: nothing passes a free one.
    """
    missed = state.items[me.since : t]
    trimmed = rules.history_size and me.since < len(state.items) - rules.history_size
    over = rules.limit and len(missed) > rules.limit
    if rules.mutant is Mutant.PARTIAL_REPLY:
        over = False
    return EXPIRED not in missed and not trimmed and not over


def _maybe_fill(rules: Rules, state: State, me: Joiner, at: str) -> Iterator[Step]:
    """A hole is met: it may be given a tombstone, and the stream be read again."""
    n = hole(state.items, me.since)
    expired = state.items.find(EXPIRED, max(me.since, 0)) + 1
    if expired and rules.mutant is Mutant.EXPIRED_IS_HOLE:
        n = expired
    if n:
        yield _label(me, f"meet a hole at {n}"), moved(state, me, me._replace(at="fill", t=n))


def _fill(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Put a tombstone, on condition that the offset is still free; read again."""
    state = tombstone(rules, state, me.t)
    again = me._replace(at="read", t=me.since)
    yield _label(me, f"fill {me.t} if it is free"), moved(state, me, again)


def _reply(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Post the reply: it ends with the last publication that fits, or at t."""
    first = me.batch[: rules.frame] if rules.frame else me.batch
    rest = me.batch[len(first) :]
    end = first[-1] if rest else me.t
    yield from _post(
        state,
        me,
        f"reply with {first}, at {end}",
        receive_reply(rules, state, me, end),
        me._replace(at="push" if rest else _after_reply(rules), batch=rest),
    )


def _after_reply(rules: Rules) -> str:
    return "end" if rules.mutant is Mutant.FLIP_BEFORE_REPLY else "flip"


def _push(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Post the next publications that fit."""
    first = me.batch[: rules.frame] if rules.frame else me.batch
    rest = me.batch[len(first) :]
    posted = receive(rules, state, me.connection, first)
    to = me._replace(at="push" if rest else "flip", batch=rest)
    yield from _post(state, me, f"push {first}", posted, to)


def _post(state: State, me: Joiner, text: str, posted: State, to: Joiner) -> Iterator[Step]:
    """One post: it arrives (or is accepted and lost), finds the connection gone, or fails."""
    if state.connections[me.connection].gateway == GONE:
        yield _label(me, "is gone"), moved(state, me, me._replace(at="forget", batch=()))
        return
    yield _label(me, text), moved(posted, me, None if to.at == "end" else to)
    if state.budget.failures:
        budget = state.budget._replace(failures=state.budget.failures - 1)
        failed = me._replace(at="close", batch=())
        yield _label(me, f"{text}, which fails"), moved(state._replace(budget=budget), me, failed)


def _flip(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """live, deliver_after = t, if it is still this join and has missed nothing after t."""
    row = state.connections[me.connection].row
    mine = row is not None and (row.join == me.command or rules.mutant is Mutant.NO_COMMAND_IDS)
    if row is None or not mine or row.state != JOINING:
        yield _label(me, "is no longer joining"), _after_flip(rules, state, me)
    elif row.missed <= me.t or rules.mutant is Mutant.FLIP_ANYWAY:
        state = with_row(state, me.connection, Row(LIVE, row.join, after=me.t))
        yield _label(me, f"flip to live after {me.t}"), _after_flip(rules, state, me)
    elif me.retries == 0:
        yield _label(me, "gives up"), moved(state, me, me._replace(at="close"))
    else:
        on = me._replace(at="read on", retries=me.retries - 1)
        yield _label(me, f"has missed up to {row.missed}"), moved(state, me, on)


def _after_flip(rules: Rules, state: State, me: Joiner) -> State:
    if rules.mutant is Mutant.FLIP_BEFORE_REPLY:
        return moved(state, me, me._replace(at="reply"))
    return moved(state, me, None)


def _read_on(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Read from t up to the last contiguous offset, whatever history_size says.

    What it has missed may have expired: it cannot be brought up to date (3010).
    """
    t = contiguous(state.items, me.t)
    if EXPIRED in state.items[me.t : t] and rules.mutant is not Mutant.READ_ON_ANYWAY:
        yield _label(me, "cannot read on"), moved(state, me, me._replace(at="close"))
        return
    batch = published(state.items, me.t, t)
    to = me._replace(at="push" if batch else "flip", t=t, batch=batch)
    yield _label(me, f"read on, ({me.t}, {t}]"), moved(state, me, to)


def _close(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    state = closed(state, me.connection)
    yield _label(me, "close the connection"), moved(state, me, me._replace(at="take"))


def _forget(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    connection = state.connections[me.connection]._replace(record=DELETED)
    state = with_connection(state, me.connection, connection)
    yield _label(me, "delete the connection"), moved(state, me, me._replace(at="take"))


def _take(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    """Delete the connection's rows; then disconnect it, unless it is gone."""
    gone = state.connections[me.connection].record == DELETED
    state = with_row(state, me.connection, None)
    to = None if gone else me._replace(at="cut")
    yield _label(me, "delete the row"), moved(state, me, to)


def _cut(rules: Rules, state: State, me: Joiner) -> Iterator[Step]:
    yield _label(me, "disconnect"), moved(cut(rules, state, me.connection, GONE), me, None)


_STEPS: dict[str, Callable[[Rules, State, Joiner], Iterator[Step]]] = {
    "put": _put,
    "map": _map,
    "unput": _unput,
    "read": _read,
    "fill": _fill,
    "reply": _reply,
    "push": _push,
    "flip": _flip,
    "read on": _read_on,
    "close": _close,
    "forget": _forget,
    "take": _take,
    "cut": _cut,
}
