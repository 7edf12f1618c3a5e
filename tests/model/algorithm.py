"""The whole algorithm as one system for the checker, and the judgement of its states.

Broken is: a client is shown a publication out of order or behind a gap; is told ``recovered: true``
with a gap; an accepted publication becomes a tombstone or is written behind the cursor; one publish
takes two offsets; the cursor moves back; without any fault a client is sent an offset twice.
At rest (nothing is left to do) a client that is there and has not everything is broken too: before
the sweep if there was no fault, after it in any case. So is, without a fault, a row whose
connection no longer exists or has left the channel.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model import fanout, join, leave, publisher, world
from tests.model.client import complete, connect
from tests.model.rules import Rules
from tests.model.state import (
    DELETED,
    LIVE,
    Budget,
    Client,
    Connection,
    Cursor,
    Drain,
    Joiner,
    Process,
    Publisher,
    Row,
    State,
    Step,
)


class Delivery:
    """The algorithm under one set of rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def initial(self) -> State:
        """An empty stream; the clients have just connected, or have joined already."""
        state = State("", Cursor(), (), (), (), (), _budget(self.rules))
        for number in range(self.rules.clients):
            state = state._replace(clients=(*state.clients, Client(number)))
            state = (
                _joined(state, number) if self.rules.joined else connect(self.rules, state, number)
            )
        return state

    def steps(self, state: State) -> Iterator[Step]:
        moves = list(self._moves(state))
        yield from moves or self._rested(state)
        yield from world.environment(self.rules, state)

    def broken(self, state: State) -> str:
        return state.wrong

    def _moves(self, state: State) -> Iterator[Step]:
        """The steps that must be taken sooner or later."""
        for process in state.processes:
            yield from _steps(self.rules, state, process)
        yield from publisher.begin(self.rules, state)
        yield from world.deliveries(self.rules, state)
        yield from world.comebacks(self.rules, state)

    def _rested(self, state: State) -> Iterator[Step]:
        """Nothing is left to do but to sweep: is everything where it belongs?"""
        swept = list(world.sweep(self.rules, state))
        if not swept or not state.faulty:
            wrong = complete(state) or _orphan(state)
            if wrong:
                yield "everything is at rest", state._replace(wrong=wrong)
        yield from swept


def _steps(rules: Rules, state: State, process: Process) -> Iterator[Step]:
    if isinstance(process, Publisher):
        return publisher.steps(rules, state, process)
    if isinstance(process, Drain):
        return fanout.steps(rules, state, process)
    if isinstance(process, Joiner):
        return join.steps(rules, state, process)
    return leave.steps(rules, state, process)


def _orphan(state: State) -> str:
    """A row that should not be there; after a crash the next drain or the sweep removes it."""
    for number, connection in enumerate(state.connections):
        if connection.row is None or state.faulty:
            continue
        if connection.record == DELETED:
            return f"connection {number} is deleted, and has a row"
        if connection.row.join < connection.command:
            return f"connection {number} has left, and has a row"
    return ""


def _joined(state: State, number: int) -> State:
    """A client that has joined the empty stream, to leave the join out of a configuration."""
    connection = Connection(number, command=1, row=Row(LIVE, 1))
    client = Client(number, joined=True, position=0)
    clients = (*state.clients[:number], client, *state.clients[number + 1 :])
    return state._replace(clients=clients, connections=(*state.connections, connection))


def _budget(rules: Rules) -> Budget:
    return Budget(**{name: getattr(rules, name) for name in Budget._fields})
