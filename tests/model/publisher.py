"""Publish: allocate an offset, write the publication there, ring the shard, answer.

docs/delivery.md, "Accepted is kept". A publisher that finds its offset taken by a tombstone
allocates again; nobody waits for one that died between the two writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.rules import FIFO, Mutant, Rules
from tests.model.state import FREE, Drain, Publisher, State, Step, moved, started


def steps(rules: Rules, state: State, me: Publisher) -> Iterator[Step]:
    if me.at == "allocate":
        yield _allocate(state, me)
    elif me.at == "put":
        yield from _put(rules, state, me)
    else:
        yield from _ring(rules, state, me)


def begin(rules: Rules, state: State) -> Iterator[Step]:
    """The next publisher begins. They are alike, so they begin in the order of their names."""
    if state.started < rules.publishers:
        me = Publisher("publisher", str(state.started), "allocate")
        yield _allocate(started(state._replace(started=state.started + 1), me), me)


def _allocate(state: State, me: Publisher) -> Step:
    """``ADD top 1`` on the head: returns n."""
    n = len(state.items) + 1
    state = state._replace(items=state.items + FREE)
    return f"publisher {me.name}: allocate {n}", moved(state, me, me._replace(at="put", n=n))


def _put(rules: Rules, state: State, me: Publisher) -> Iterator[Step]:
    """Put publication n, if the offset is free or is already this publication's own."""
    taken_by = state.items[me.n - 1]
    if taken_by != FREE and rules.mutant is not Mutant.PUBLISH_ANYWAY:
        if taken_by == me.name and rules.mutant is not Mutant.RETRY_AS_NEW:
            yield f"publisher {me.name}: has already written {me.n}", _ringing(rules, state, me)
        else:
            again = me._replace(at="allocate", n=0)
            yield f"publisher {me.name}: {me.n} is taken", moved(state, me, again)
        return
    written = _written(state, me)
    yield f"publisher {me.name}: write {me.n}", _ringing(rules, written, me)
    if state.budget.lost_answers:
        budget = state.budget._replace(lost_answers=state.budget.lost_answers - 1)
        yield f"publisher {me.name}: write {me.n}, answer lost", written._replace(budget=budget)


def _written(state: State, me: Publisher) -> State:
    items = state.items[: me.n - 1] + me.name + state.items[me.n :]
    wrong = state.wrong
    if me.name in state.items:
        wrong = f"{me.name} is published twice: {items}"
    elif state.cursor.sent >= me.n:
        wrong = f"{me.n} is published behind the cursor, which is at {state.cursor.sent}"
    return state._replace(items=items, wrong=wrong)


def _ringing(rules: Rules, state: State, me: Publisher) -> State:
    """About to ring. Inline, the ring is the first step of the publisher's own drain."""
    if rules.dispatch == FIFO:
        return moved(state, me, me._replace(at="ring"))
    ring = me.n if rules.mutant is Mutant.RING_CARRIES_DATA else 0
    return moved(state, me, Drain("drain", me.name, "acquire", ring=ring))


def _ring(rules: Rules, state: State, me: Publisher) -> Iterator[Step]:
    """Send a doorbell. The queue may lose it (or give it up after too many tries), or repeat it."""
    ring = me.n if rules.mutant is Mutant.RING_CARRIES_DATA else 0
    budget, after = state.budget, moved(state, me, None)
    yield f"publisher {me.name}: ring", after._replace(bells=(*state.bells, ring))
    if budget.lost_rings:
        lost = budget._replace(lost_rings=budget.lost_rings - 1)
        yield f"publisher {me.name}: ring, lost", after._replace(budget=lost, faulty=True)
    if budget.repeated_rings:
        twice = budget._replace(repeated_rings=budget.repeated_rings - 1)
        bells = (*state.bells, ring, ring)
        yield f"publisher {me.name}: ring, twice", after._replace(budget=twice, bells=bells)
