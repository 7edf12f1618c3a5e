"""The gateway as Node's ``ws`` sees it: the client of most JavaScript outside browsers."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.localgateway.support import OK, Recorder, Start, connection_of, management

FOLDER = Path(__file__).parent / "node"

Events = Iterator[dict[str, Any]]
Client = Callable[..., Events]


@pytest.fixture(scope="session")
def ws_library() -> None:
    """Install ``ws`` as the lock file pins it, once; skip where there is no Node."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    if not (FOLDER / "node_modules" / "ws").exists():
        install = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=FOLDER, check=True, capture_output=True, timeout=100)


@pytest.fixture
def node(ws_library: None) -> Iterator[Client]:
    """Run Node clients that end with the test; each gives the events that it sees."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(_running(url, options))


@contextmanager
def _running(url: str, options: dict[str, Any]) -> Iterator[Events]:
    arguments = ["node", "client.js", json.dumps({"url": url, **options})]
    with subprocess.Popen(arguments, cwd=FOLDER, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield (json.loads(line) for line in process.stdout)
        finally:
            process.kill()


def test_1_node_is_connected(local_gateway: Start, node: Client) -> None:
    events = node(local_gateway({}).ws_url, close=[1000, "bye"])

    opened = next(events)
    assert opened["open"] == ""
    assert "permessage-deflate" in opened["extensions"]
    assert next(events) == {"close": 1000, "reason": "bye"}


@pytest.mark.parametrize("status", [401, 403, 500, 501])
def test_4_node_sees_the_status_of_a_refusal(
    local_gateway: Start, node: Client, status: int
) -> None:
    app = Recorder(connect=lambda event: {"statusCode": status})

    assert next(node(local_gateway(app.handlers()).ws_url)) == {"status": status}


def test_5_node_sees_502(local_gateway: Start, node: Client) -> None:
    app = Recorder(connect=lambda event: None)

    assert next(node(local_gateway(app.handlers()).ws_url)) == {"status": 502}


def test_9_node_gets_the_subprotocol_or_an_error(local_gateway: Start, node: Client) -> None:
    chosen = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "b"}}
    choosing = local_gateway(Recorder(connect=lambda event: chosen).handlers())
    silent = local_gateway(Recorder(connect=lambda event: OK).handlers())

    assert next(node(choosing.ws_url, protocols=["a", "b"]))["open"] == "b"
    # RFC 6455, section 4.1: a client may refuse; ws does, as browsers do.
    assert next(node(silent.ws_url, protocols=["a"])) == {"error": "Server sent no subprotocol"}


def test_24_node_gets_the_error_frame(local_gateway: Start, node: Client) -> None:
    def fail(event: Any) -> Any:
        raise RuntimeError

    app = Recorder(default=fail)
    events = node(local_gateway(app.handlers()).ws_url, send=["hello"])
    next(events)
    app.next("$connect")
    context = app.next("$default")["requestContext"]

    assert next(events) == {
        "message": '{"message": "Internal server error", '
        f'"connectionId":"{context["connectionId"]}", "requestId":"{context["requestId"]}"}}',
        "binary": False,
    }


def test_29_node_is_closed_1009(local_gateway: Start, node: Client) -> None:
    events = node(local_gateway({}).ws_url, send=["x" * 32_769])

    assert [next(events) and None, next(events)["close"]] == [None, 1009]


def test_30_node_is_closed_1003(local_gateway: Start, node: Client) -> None:
    events = node(local_gateway({}).ws_url, send=[{"binary": "AAE="}])

    assert [next(events) and None, next(events)["close"]] == [None, 1003]


def test_31_node_gets_its_pong(local_gateway: Start, node: Client) -> None:
    events = node(local_gateway({}).ws_url, ping="payload")
    next(events)

    assert next(events) == {"pong": "payload"}


def test_32_node_is_cut_after_ten_idle_minutes(local_gateway: Start, node: Client) -> None:
    gateway = local_gateway({})
    events = node(gateway.ws_url)
    next(events)
    gateway.skip(600)

    assert next(events) == {"close": 1001, "reason": "Going away"}


def test_33_node_is_cut_after_two_hours(local_gateway: Start, node: Client) -> None:
    gateway = local_gateway({}, idle_seconds=100_000)
    events = node(gateway.ws_url)
    next(events)
    gateway.skip(7_200)

    assert next(events) == {"close": 1001, "reason": "Going away"}


def test_34_nodes_close_is_told_to_disconnect(local_gateway: Start, node: Client) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    for close, told in (([], 1005), ([1000, "bye"], 1000), ([4001, "mine"], 4001)):
        events = node(gateway.ws_url, close=close)
        assert [next(events) and None, next(events)["close"]] == [None, told]
        app.next("$connect")
        assert app.next("$disconnect")["requestContext"]["disconnectStatusCode"] == told


def test_37_node_gets_long_posts_whole(local_gateway: Start, node: Client) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    events = node(gateway.ws_url)
    next(events)
    management(gateway.management_url).post_to_connection(
        ConnectionId=connection_of(app.next("$connect")), Data=b"x" * 131_072
    )

    assert next(events) == {"message": "x" * 131_072, "binary": False}


def test_41_node_sees_the_close_of_a_delete(local_gateway: Start, node: Client) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    events = node(gateway.ws_url)
    next(events)
    management(gateway.management_url).delete_connection(
        ConnectionId=connection_of(app.next("$connect"))
    )

    assert next(events) == {"close": 1000, "reason": "Connection Closed Normally"}
