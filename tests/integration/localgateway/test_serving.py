"""The Python API: what serving, stopping and looking at a gateway promises."""

import socket
import threading

import pytest
from websockets.sync.client import connect

from localgateway import serve
from tests.integration.localgateway.support import Recorder


def test_serves_plain_handlers_on_a_free_port_and_stops_cleanly() -> None:
    app = Recorder()
    with serve(app.handlers()) as gateway:
        with connect(gateway.ws_url) as client:
            app.next("$connect")
            client.send("hello")
            assert app.next("$default")["body"] == "hello"
            assert len(gateway.connection_ids()) == 1
        app.next("$disconnect")

    assert not [each for each in threading.enumerate() if "localgateway" in each.name]


def test_a_taken_port_is_named_in_the_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"), serve({}, port=port):
            pass


def test_a_wrong_route_selection_is_refused_before_anything_listens() -> None:
    with pytest.raises(ValueError, match="route selection"), serve({}, route_selection="action"):
        pass
