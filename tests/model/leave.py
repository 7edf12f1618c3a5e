"""Leave: the handlers of unsubscribe and of $disconnect.

API Gateway hands the frames of one connection to concurrent handlers, so an unsubscribe may be
handled before the subscribe it follows or after the one that follows it.
The connection's map keeps the last command id, of unsubscribes too: a lower one undoes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.rules import Mutant, Rules
from tests.model.state import (
    DELETED,
    OPEN,
    Leaver,
    State,
    Step,
    moved,
    started,
    with_connection,
    with_row,
)


def steps(rules: Rules, state: State, me: Leaver) -> Iterator[Step]:
    yield (_unmap if me.at == "map" else _delete_row)(rules, state, me)


def _unmap(rules: Rules, state: State, me: Leaver) -> Step:
    """Enter the command into the map, on condition that it holds no later one."""
    connection = state.connections[me.connection]
    ordered = connection.command < me.command or rules.mutant is Mutant.NO_COMMAND_IDS
    label = f"unsubscribe {me.command} of {me.connection}"
    if connection.record != OPEN or not ordered:
        return f"{label}: is overtaken", moved(state, me, None)
    state = with_connection(state, me.connection, connection._replace(command=me.command))
    return f"{label}: enter the map", moved(state, me, me._replace(at="row"))


def _delete_row(rules: Rules, state: State, me: Leaver) -> Step:
    """Delete the row, if it is of an earlier command; after $disconnect whatever it is."""
    row = state.connections[me.connection].row
    anyway = not me.command or rules.mutant is Mutant.NO_COMMAND_IDS
    if row and (anyway or row.join < me.command):
        state = with_row(state, me.connection, None)
    name = f"unsubscribe {me.command}" if me.command else "$disconnect"
    return f"{name} of {me.connection}: delete the row", moved(state, me, None)


def disconnected(state: State, number: int) -> Step:
    """$disconnect runs: delete the connection, which returns its map; then its rows."""
    connection = state.connections[number]
    mapped = connection.command > 0
    state = with_connection(state, number, connection._replace(record=DELETED, command=0))
    if mapped:
        state = started(state, Leaver("leaver", number, 0, "row"))
    return f"$disconnect of {number}: delete the connection", state
