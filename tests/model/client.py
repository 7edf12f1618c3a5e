"""The client: what it is shown, and what it may never be shown.

It has one connection at a time and keeps the highest offset it has seen. It drops a push on a
channel it has not joined, and a publication that is not above its position (a duplicate).
A publication above its position must be the next one: only tombstones may lie between.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.model.rules import Mutant, Rules
from tests.model.state import (
    AWAY,
    OPEN,
    SILENT,
    TOMBSTONE,
    Client,
    Connection,
    Joiner,
    State,
    contiguous,
    started,
    with_client,
    with_connection,
)


def receive(rules: Rules, state: State, number: int, batch: Sequence[int]) -> State:
    """A push with these publications reaches the client, if somebody still listens there."""
    connection = state.connections[number]
    client = state.clients[connection.client]
    if connection.gateway != OPEN or client.connection != number or not client.joined:
        return state
    return _shown(rules, state, connection.client, batch)


def receive_reply(rules: Rules, state: State, joiner: Joiner, t: int) -> State:
    """The reply to a subscribe reaches the client; it ends at offset ``t``."""
    connection = state.connections[joiner.connection]
    client = state.clients[connection.client]
    awaited = (joiner.connection, joiner.command) == (client.connection, client.command)
    if connection.gateway != OPEN or not awaited:
        return state
    if not joiner.recovered:
        state = with_client(
            state, connection.client, client._replace(joined=True, position=max(t, 0))
        )
        if rules.readable and contiguous(state.items, 0) < t:
            return state._replace(wrong=f"joined at {t}, which cannot be read yet")
        return state
    state = with_client(state, connection.client, client._replace(joined=True))
    state = _shown(rules, state, connection.client, [n for n in joiner.batch if n <= t])
    return _recovered(state, connection.client, t)


def _shown(rules: Rules, state: State, number: int, batch: Sequence[int]) -> State:
    client = state.clients[number]
    position = client.position
    for n in batch:
        if n <= position:
            if rules.once and not state.faulty:
                return state._replace(wrong=f"client {number} was sent {n} twice, without a fault")
        elif state.items[position : n - 1].strip(TOMBSTONE):
            return state._replace(wrong=f"client {number} was shown {n} after {position}")
        else:
            position = n
    return with_client(state, number, client._replace(position=position))


def _recovered(state: State, number: int, t: int) -> State:
    """It was told that it has everything up to ``t``."""
    client = state.clients[number]
    if state.items[client.position : t].strip(TOMBSTONE):
        return state._replace(
            wrong=f"client {number} has {client.position}, was told that it recovered up to {t}"
        )
    return with_client(state, number, client._replace(position=max(client.position, t)))


def cut(rules: Rules, state: State, number: int, gateway: str = SILENT) -> State:
    """A connection ends; the client that used it comes back with its position, if it may.

    The way back is one step: nothing can happen to a client between two connections.
    """
    connection = state.connections[number]
    if connection.gateway != OPEN:
        return state
    state = with_connection(state, number, connection._replace(gateway=gateway))
    client = state.clients[connection.client]
    if client.connection != number:
        return state
    if len(state.connections) >= rules.connections:
        return with_client(state, connection.client, Client(AWAY, position=client.position))
    return connect(rules, state, connection.client)


def connect(rules: Rules, state: State, number: int) -> State:
    """A client takes a new connection and subscribes, from its position if it has one."""
    new = len(state.connections)
    state = state._replace(connections=(*state.connections, Connection(number)))
    client = Client(new, position=state.clients[number].position)
    return started(with_client(state, number, client), joining(rules, new, client))


def joining(rules: Rules, number: int, client: Client) -> Joiner:
    """The handler of the subscribe that the client has just sent."""
    at = {Mutant.READ_BEFORE_ROW: "read", Mutant.ROW_AFTER_MAP: "map"}
    first = at.get(rules.mutant, "put") if rules.mutant else "put"
    position = client.position
    return Joiner(
        "joiner", number, client.command, first, position, position, retries=rules.retries
    )


def served(state: State, client: Client) -> bool:
    """Is a handler at work on the subscribe that this client waits for?"""
    return alive(state, client.connection, client.command)


def alive(state: State, connection: int, command: int) -> bool:
    return any(process[:3] == ("joiner", connection, command) for process in state.processes)


def complete(state: State) -> str:
    """Has every client that is there got everything? Names the first that has not."""
    for number, client in enumerate(state.clients):
        if client.connection == AWAY:
            continue
        if not client.joined:
            return f"client {number} never joined"
        if set(state.items[client.position :]) - {TOMBSTONE, "."}:
            return f"client {number} lost what follows {client.position} in {state.items}"
    return ""
