"""Presence of users over real sockets that die without a word."""

import json
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chalicelib import bootstrap
from tests.support.stack import Stack

SECRET = "local-secret-that-everybody-knows-0123456789"


def _subprotocols(user: str, secret: str) -> list[Subprotocol]:
    token = jwt.encode({"sub": user}, secret, algorithm="HS256")
    return [Subprotocol("carillon"), Subprotocol(f"bearer.{token}")]


def _open(exits: ExitStack, stack: Stack, user: str) -> tuple[ClientConnection, str]:
    """A plain socket of a user, whose token travels as a subprotocol; with its connection id."""
    known = set(stack.gateway.connection_ids())
    offered = _subprotocols(user, SECRET)
    socket = exits.enter_context(connect(stack.ws, subprotocols=offered))
    (connection_id,) = set(stack.gateway.connection_ids()) - known
    return socket, connection_id


def _hear(socket: ClientConnection, *events: str) -> Any:
    """The next event of one of these kinds."""
    while True:
        said = json.loads(socket.recv(timeout=30))
        if said["event"] in events:
            return said


def _subscribe(socket: ClientConnection, channel: str) -> None:
    frame = {"action": "subscribe", "channel": channel, "join_leave": True}
    socket.send(json.dumps(frame))
    _hear(socket, "subscribe")


def test_two_tabs_of_a_user_that_die_silently_leave_once_each(stack: Stack, channel: str) -> None:
    with ExitStack() as exits:
        watcher, watcher_id = _open(exits, stack, "8")
        _subscribe(watcher, channel)
        tabs = [_open(exits, stack, "7") for _ in range(2)]
        for socket, _ in tabs:
            _subscribe(socket, channel)
        stats = stack.post("presence_stats", {"channel": channel})["result"]
        for _, connection_id in tabs:
            stack.gateway.drop(connection_id, notify=False)
        for _ in range(bootstrap.deployed().store.BUCKETS):
            bootstrap.sweep().run()
        left = sorted(_hear(watcher, "leave")["info"]["client"] for _ in tabs)
        stack.post("publish", {"channel": channel, "data": "marker"})
        after = _hear(watcher, "leave", "publication")
        members = stack.post("presence", {"channel": channel})["result"]["presence"]

    assert stats == {"num_clients": 3, "num_users": 2}
    assert left == sorted(connection_id for _, connection_id in tabs)
    assert after["event"] == "publication"
    assert members == {watcher_id: {"user": "8", "client": watcher_id}}


def test_a_handshake_with_a_foreign_token_is_refused(stack: Stack) -> None:
    offered = _subprotocols("7", "another secret of thirty-two bytes!")

    with pytest.raises(InvalidStatus) as raised, connect(stack.ws, subprotocols=offered):
        pass
    assert raised.value.response.status_code == 401
