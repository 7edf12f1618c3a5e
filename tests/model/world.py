"""What nobody decides: the environment's steps, and the schedule's sweep.

The environment may do what it does at any moment, within the budget, or never:
nothing may depend on it. The sweep runs when everything else has come to rest, and then everything
must come to rest again, complete.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model import leave
from tests.model.client import cut, joining, served
from tests.model.fanout import closed
from tests.model.rules import FIFO, Mutant, Rules
from tests.model.state import (
    AWAY,
    CLOSING,
    DELETED,
    EXPIRED,
    FREE,
    GONE,
    JOINING,
    OPEN,
    SILENT,
    Client,
    Drain,
    Leaver,
    Process,
    State,
    Step,
    moved,
    started,
    with_client,
    with_connection,
    with_row,
)


def deliveries(rules: Rules, state: State) -> Iterator[Step]:
    """The queue has one worker at a time for the group."""
    if state.bells and not any(process.kind == "drain" for process in state.processes):
        yield from _received(rules, state)


def _received(rules: Rules, state: State) -> Iterator[Step]:
    """The queue hands a worker its doorbells: all of them, as they carry nothing."""
    if rules.mutant is Mutant.RING_CARRIES_DATA:
        ring, *rest = state.bells
        taken = state._replace(bells=tuple(rest))
        yield f"queue: hands out {ring}", started(taken, Drain("drain", "worker", "acquire", ring))
    else:
        taken = state._replace(bells=())
        yield "queue: hands out the bells", started(taken, Drain("drain", "worker", "acquire"))


def comebacks(rules: Rules, state: State) -> Iterator[Step]:
    """A client whose subscribe nobody answers gives up that connection and comes back."""
    for number, client in enumerate(state.clients):
        if client.connection != AWAY and not client.joined and not served(state, client):
            after = cut(rules, state, client.connection)
            yield f"client {number}: waits no longer", after


def environment(rules: Rules, state: State) -> Iterator[Step]:
    """What may happen, and need not."""
    budget = state.budget
    if budget.cuts:
        yield from _cuts(rules, state)
    if budget.resubscribes:
        yield from _resubscribes(rules, state)
    if budget.unsubscribes:
        yield from _unsubscribes(state)
    if budget.crashes:
        yield from _crashes(rules, state)
    if budget.expirations:
        yield from _expirations(state)
    yield from _notices(state)
    yield from _lease(state)


def _cuts(rules: Rules, state: State) -> Iterator[Step]:
    budget = state.budget._replace(cuts=state.budget.cuts - 1)
    for number, client in enumerate(state.clients):
        if client.connection != AWAY:
            after = cut(rules, state._replace(budget=budget), client.connection)
            yield f"client {number}: is cut", after


def _notices(state: State) -> Iterator[Step]:
    """The gateway notices that a client left; $disconnect may run after that."""
    for number, connection in enumerate(state.connections):
        if connection.gateway == SILENT:
            after = with_connection(state, number, connection._replace(gateway=GONE))
            yield f"gateway: {number} is gone", after
        elif connection.gateway == GONE and connection.record != DELETED:
            yield leave.disconnected(state, number)


def _resubscribes(rules: Rules, state: State) -> Iterator[Step]:
    """A client sends unsubscribe and subscribe back to back; both are handled at once."""
    budget = state.budget._replace(resubscribes=state.budget.resubscribes - 1)
    for number, client in enumerate(state.clients):
        if client.connection == AWAY:
            continue
        again = client._replace(command=client.command + 2, joined=False)
        after = with_client(state._replace(budget=budget), number, again)
        after = started(after, Leaver("leaver", client.connection, client.command + 1, "map"))
        joiner = joining(rules, client.connection, again)
        yield f"client {number}: unsubscribe, subscribe", started(after, joiner)


def _unsubscribes(state: State) -> Iterator[Step]:
    """A client leaves the channel for good, perhaps before its subscribe is answered."""
    budget = state.budget._replace(unsubscribes=state.budget.unsubscribes - 1)
    for number, client in enumerate(state.clients):
        if client.connection != AWAY:
            left = Client(AWAY, position=client.position)
            after = with_client(state._replace(budget=budget), number, left)
            leaver = Leaver("leaver", client.connection, client.command + 1, "map")
            yield f"client {number}: unsubscribe", started(after, leaver)


def _crashes(rules: Rules, state: State) -> Iterator[Step]:
    budget = state.budget._replace(crashes=state.budget.crashes - 1)
    for process in state.processes:
        if process.kind in rules.crashable:
            after = moved(state, process, None)._replace(budget=budget, faulty=True)
            if rules.dispatch == FIFO and isinstance(process, Drain):
                after = after._replace(bells=(process.ring, *after.bells))
            yield f"{_name(process)}: crashes at {process.at}", after


def _name(process: Process) -> str:
    return " ".join(str(part) for part in process[:3])


def _expirations(state: State) -> Iterator[Step]:
    """The oldest publication expires; not one that is still to be sent (the sweep sees to that)."""
    n = len(state.items) - len(state.items.lstrip(EXPIRED + "x")) + 1
    if n <= state.cursor.sent:
        budget = state.budget._replace(expirations=state.budget.expirations - 1)
        items = state.items[: n - 1] + EXPIRED + state.items[n:]
        yield f"time: {n} expires", state._replace(items=items, budget=budget)


def _lease(state: State) -> Iterator[Step]:
    """A lease expires: its holder has crashed, or is merely slow."""
    holder = state.cursor.holder
    free = state._replace(cursor=state.cursor._replace(holder="", rung=False), faulty=True)
    if holder and not _works(state, holder):
        yield "time: the lease expires", free
    elif holder and state.budget.expiries:
        budget = state.budget._replace(expiries=state.budget.expiries - 1)
        yield f"time: the lease of {holder}, who is slow, expires", free._replace(budget=budget)


def _works(state: State, holder: str) -> bool:
    return any(process[:2] == ("drain", holder) for process in state.processes)


def sweep(rules: Rules, state: State) -> Iterator[Step]:
    """Repeat the DELETE of what is closing, disconnect dead joins, ring what is behind.

    A row whose handler died after the reply may never be met by a drain: nothing more need be
    published. Its client believes that it has joined, so the sweep has to look for it.
    A head whose top was never written is behind for ever; ringing for it does nothing: left out.
    """
    for number, connection in enumerate(state.connections):
        if connection.record == CLOSING and connection.gateway == OPEN:
            yield f"sweep: disconnect {number}", cut(rules, state, number, GONE)
    if rules.mutant is not Mutant.SWEEP_BEHIND_ONLY:
        yield from _dead_joins(rules, state)
    if state.cursor.holder:
        yield from _lease(state)
        return
    behind = len(state.items.rstrip(FREE)) > state.cursor.sent
    if behind:
        yield "sweep: ring", started(state, Drain("drain", "sweep", "acquire"))


def _dead_joins(rules: Rules, state: State) -> Iterator[Step]:
    """A row joining for too long: at rest no handler is at work on any."""
    for number, connection in enumerate(state.connections):
        mapped = connection.record == OPEN and connection.command > 0
        if mapped and connection.row and connection.row.state == JOINING:
            after = cut(rules, with_row(closed(state, number), number, None), number, GONE)
            yield f"sweep: the join of {number} is too old", after
