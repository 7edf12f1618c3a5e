"""The Python API: what serving, stopping and looking at a gateway promises."""

import socket
import threading
from contextlib import ExitStack

import pytest
from websockets.sync.client import connect

from localgateway import serve
from localgateway.events import Event
from tests.integration.localgateway.conftest import Certificate
from tests.integration.localgateway.support import (
    DEADLINE,
    OK,
    Recorder,
    Start,
    closed,
    connection_of,
    manage,
)


def test_serves_plain_handlers_on_a_free_port_and_stops_cleanly() -> None:
    app = Recorder()
    before = set(threading.enumerate())
    with serve(app.handlers()) as gateway:
        with connect(gateway.ws_url) as client:
            app.next("$connect")
            client.send("hello")
            assert app.next("$default")["body"] == "hello"
            assert len(gateway.connection_ids()) == 1
        app.next("$disconnect")

    started = set(threading.enumerate()) - before
    assert not [each for each in started if "localgateway" in each.name]


def test_a_taken_port_is_named_in_the_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"), serve({}, port=port):
            pass


def test_a_wrong_route_selection_is_refused_before_anything_listens() -> None:
    with pytest.raises(ValueError, match="route selection"), serve({}, route_selection="action"):
        pass


def test_clients_that_stay_are_told_when_the_gateway_goes(certificate: Certificate) -> None:
    for server, trust in ((None, None), (certificate.server(), certificate.client())):
        app = Recorder()
        with ExitStack() as stack:
            with serve(app.handlers(), tls=server) as gateway:
                client = stack.enter_context(connect(gateway.ws_url, ssl=trust))
                app.next("$connect")
            assert closed(client) == (1001, "Going away")
        assert app.events.empty()


def test_handlers_may_post_until_they_end(local_gateway: Start) -> None:
    going = threading.Event()
    statuses: list[int] = []

    def slow(event: Event) -> dict[str, int]:
        going.wait(DEADLINE)
        statuses.append(manage(gateway, "POST", connection_of(event), b"late").status)
        return OK

    app = Recorder(default=slow)
    with serve(app.handlers()) as gateway, connect(gateway.ws_url) as client:
        app.next("$connect")
        client.send("hello")
        app.next("$default")
        threading.Timer(0.1, going.set).start()

    assert statuses == [410]
