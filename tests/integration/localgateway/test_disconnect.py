"""The ends of connections: what the client sees and what ``$disconnect`` says."""

import socket
import struct
from typing import Any

import pytest
from websockets.sync.client import connect

from localgateway.events import Event
from tests.integration.localgateway.support import (
    DEADLINE,
    Recorder,
    Start,
    closed,
    connection_of,
    management,
)


def end_of(app: Recorder) -> tuple[int, str]:
    """Wait for ``$disconnect``; give its code and reason."""
    context = app.next("$disconnect")["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


def abort(sock: socket.socket) -> None:
    """Reset a TCP connection: no close frame, no FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_34_a_close_without_a_code_is_told_as_1005(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        client.protocol.send_close()
        for data in client.protocol.data_to_send():
            client.socket.sendall(data)
        assert end_of(app) == (1005, "Client-side close frame status not set")


def test_34_a_close_with_a_code_is_told_as_it_is(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        client.close(1000, "bye")
    assert end_of(app) == (1000, "bye")


def test_35_a_lost_network_is_told_as_1006(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as client:
        app.next("$connect")
        abort(client.socket)
        assert end_of(app) == (1006, "Connection closed abnormally")
    assert gateway.connection_ids() == []


def test_35_a_browser_that_leaves_is_told_as_1001(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        client.close(1001)
    assert end_of(app) == (1001, "")


def test_36_disconnect_comes_once_and_its_result_is_nothing(local_gateway: Start) -> None:
    gone: list[Any] = []

    def post_and_raise(event: Event) -> Any:
        client_of = management(gateway.management_url)
        with pytest.raises(client_of.exceptions.GoneException) as caught:
            client_of.post_to_connection(ConnectionId=connection_of(event), Data=b"x")
        gone.append(caught.value.response["ResponseMetadata"]["HTTPStatusCode"])
        raise RuntimeError

    app = Recorder(disconnect=post_and_raise)
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url):
        app.next("$connect")
    app.next("$disconnect")
    gateway.quiet()

    assert gone == [410]
    assert app.events.empty()


def test_41_delete_closes_1000_and_tells_disconnect(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        connection = connection_of(app.next("$connect"))
        response = client_of.delete_connection(ConnectionId=connection)
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 204
        with pytest.raises(client_of.exceptions.GoneException):
            client_of.delete_connection(ConnectionId=connection)
        assert closed(client) == (1000, "Connection Closed Normally")
    assert end_of(app) == (1000, "Connection Closed Normally")


def test_a_dropped_connection_is_told_only_on_request(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as silent, connect(gateway.ws_url) as told:
        app.next("$connect")
        app.next("$connect")
        first, second = gateway.connection_ids()
        gateway.drop(first)
        gateway.drop(second, notify=True)
        assert [closed(silent), closed(told)] == [(1006, "")] * 2
    event = app.next("$disconnect")
    assert connection_of(event) == second
    gateway.quiet()
    assert app.events.empty()


def test_dropping_what_is_not_there_is_an_error(local_gateway: Start) -> None:
    with pytest.raises(KeyError):
        local_gateway({}).drop("nobody")


def test_a_client_that_never_answers_the_close_is_cut(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers(), close_seconds=0.1)
    with socket.create_connection(("127.0.0.1", gateway.port), DEADLINE) as raw:
        raw.sendall(
            b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        connection = connection_of(app.next("$connect"))
        management(gateway.management_url).delete_connection(ConnectionId=connection)
        with raw.makefile("rb") as stream:
            received = stream.read()  # to the end of the stream: only the gateway can end it
    assert received.endswith(b"\x88\x1c\x03\xe8Connection Closed Normally")
