"""Chalice apps, as users write them, in front of the gateway."""

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session  # noqa: TID251 - a user's app, as users write them
from chalice.app import Chalice, WebsocketDisconnectedError
from chalice.config import Config
from chalice.local import HTTPServerThread, create_local_server
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

from localgateway import serve
from localgateway.loading import Source
from tests.integration.localgateway.conftest import Certificate
from tests.integration.localgateway.support import (
    DEADLINE,
    NOBODY,
    Start,
    closed,
    refusal,
    until,
)

APPS = Path(__file__).parent / "apps"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=["echo"])
def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import one of the apps afresh; another one is named by indirect parametrisation."""
    project = APPS / request.param
    monkeypatch.syspath_prepend(project)
    yield Source("app:app", project).load()
    sys.modules.pop("app", None)


chat = pytest.mark.parametrize("app", ["chat"], indirect=True)


def test_52_an_app_with_only_a_message_handler_works(local_gateway: Start, app: Any) -> None:
    gateway = local_gateway(app)
    with connect(gateway.ws_url) as client:
        client.send("hello")
        assert client.recv(timeout=DEADLINE) == "hello"
    until(lambda: not gateway.connection_ids())


@chat
def test_49_send_close_and_info_work_from_handlers(local_gateway: Start, app: Any) -> None:
    gateway = local_gateway(app)
    with connect(gateway.ws_url) as ann, connect(gateway.ws_url) as bob:
        ann.send("/since")
        since = datetime.fromisoformat(str(ann.recv(timeout=DEADLINE)))
        assert since.tzinfo is not None
        ann.send("/join room")
        assert ann.recv(timeout=DEADLINE) == "* somebody joined"
        bob.send("/join room")
        assert ann.recv(timeout=DEADLINE) == "* somebody joined"
        assert bob.recv(timeout=DEADLINE) == "* somebody joined"
        bob.send("hello")
        assert ann.recv(timeout=DEADLINE) == "somebody: hello"
        bob.send("/leave")
        assert closed(bob) == (1000, "Connection Closed Normally")
        assert ann.recv(timeout=DEADLINE) == "* somebody left"


def test_49_send_works_from_chalice_locals_request_threads(local_gateway: Start, app: Any) -> None:
    gateway = local_gateway(app)
    server: Any = create_local_server(app, Config.create(), "127.0.0.1", 0)
    rest = HTTPServerThread(lambda: server)
    rest.start()
    try:
        url = f"http://127.0.0.1:{server.server.server_port}"
        with connect(gateway.ws_url) as client:
            connection = gateway.connection_ids()[0]
            with urllib.request.urlopen(f"{url}/say/{connection}/hello") as response:
                assert response.read() == b'{"said":"hello"}'
            assert client.recv(timeout=DEADLINE) == "hello"
    finally:
        rest.shutdown()
        rest.join()
        server.server.server_close()


def test_49_send_works_over_tls_from_another_process(
    local_gateway: Start, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = local_gateway({}, tls=certificate.server())
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.file))
    script = (
        "import sys, app\n"
        "app.app.websocket_api.configure(sys.argv[1], 'api')\n"
        "app.app.websocket_api.send(sys.argv[2], 'hello')\n"
    )
    with connect(gateway.ws_url, ssl=certificate.client()) as client:
        arguments = [f"127.0.0.1:{gateway.port}", gateway.connection_ids()[0]]
        subprocess.run([sys.executable, "-c", script, *arguments], cwd=APPS / "echo", check=True)
        assert client.recv(timeout=DEADLINE) == "hello"


def test_38_chalice_raises_disconnected_for_a_gone_connection(
    local_gateway: Start, app: Any
) -> None:
    local_gateway(app)
    with pytest.raises(WebsocketDisconnectedError):
        app.websocket_api.send(NOBODY, "hello")


def test_50_handlers_are_called_as_lambda_calls_them(local_gateway: Start, app: Any) -> None:
    called: list[tuple[Any, Any]] = []
    entry = app.handler_map["message"]

    def spy(event: Any, context: Any) -> Any:
        called.append((event, context))
        event["requestContext"]["connectionId"] = NOBODY  # a copy: harms nobody else
        return {"statusCode": 200}

    app.handler_map["message"] = spy
    try:
        gateway = local_gateway(app)
        with connect(gateway.ws_url) as client:
            connection = gateway.connection_ids()[0]
            client.send("one")
            client.send("two")
            until(lambda: len(called) == 2)
            assert gateway.connection_ids() == [connection]
    finally:
        app.handler_map["message"] = entry
    assert type(called[0][0]) is dict
    assert called[0][0] is not called[1][0]
    assert called[0][1].function_name == "echo-api-websocket_message"


@chat
def test_51_body_is_the_string_none_on_connect_and_disconnect(
    local_gateway: Start, app: Any
) -> None:
    bodies: list[str] = []

    @app.middleware("websocket")  # type: ignore[untyped-decorator] # chalice has no types
    def note(event: Any, get_response: Any) -> Any:
        bodies.append(event.body)
        return get_response(event)

    gateway = local_gateway(app)
    with connect(gateway.ws_url) as client:
        client.send("hello")
        until(lambda: len(bodies) == 2)
    until(lambda: len(bodies) == 3)

    assert bodies == ["None", "hello", "None"]


@chat
def test_4_chalice_turns_none_and_text_into_200(local_gateway: Start, app: Any) -> None:
    gateway = local_gateway(app)
    assert refusal(gateway.ws_url) == 101
    assert refusal(gateway.ws_url + "?token=bad") == 401
    results: list[Any] = [None, "ok", {}]
    for result in results:
        other = Chalice(app_name="other")
        other.on_ws_connect()(lambda event, result=result: result)
        assert refusal(local_gateway(other).ws_url) == 101


@chat
def test_5_chalices_own_errors_are_502_on_connect(local_gateway: Start, app: Any) -> None:
    assert refusal(local_gateway(app).ws_url + "?token=worse") == 502


@chat
def test_24_bad_json_kills_the_invocation_as_deployed(local_gateway: Start, app: Any) -> None:
    with connect(local_gateway(app).ws_url) as client:
        client.send("/json no json")
        assert "Internal server error" in str(client.recv(timeout=DEADLINE))


@chat
def test_27_text_returned_through_chalice_is_not_sent(local_gateway: Start, app: Any) -> None:
    gateway = local_gateway(app)
    with connect(gateway.ws_url) as client:
        client.send("/name ann")
        gateway.quiet()
        client.send("/join room")
        assert client.recv(timeout=DEADLINE) == "* ann joined"


def test_43_posting_from_connect_to_oneself_is_410_at_once(local_gateway: Start) -> None:
    eager = Chalice(app_name="eager")
    eager.websocket_api.session = Session()
    seen: list[str] = []

    @eager.on_ws_connect()
    def greet(event: Any) -> None:
        try:
            eager.websocket_api.send(event.connection_id, "too early")
        except WebsocketDisconnectedError as gone:
            seen.append(gone.connection_id)

    gateway = local_gateway(eager)
    with connect(gateway.ws_url) as client:
        assert seen == gateway.connection_ids()
        eager.websocket_api.send(seen[0], "right after the 101")
        assert client.recv(timeout=DEADLINE) == "right after the 101"


def test_48_many_handlers_that_send_at_once_do_not_deadlock(local_gateway: Start, app: Any) -> None:
    gateway = local_gateway(app, threads=8)

    async def talk() -> None:
        async with connect_async(gateway.ws_url) as client:
            for number in range(3):
                await client.send(str(number))
            heard = {await asyncio.wait_for(client.recv(), DEADLINE) for _ in range(3)}
            assert heard == {"0", "1", "2"}

    async def everybody() -> None:
        await asyncio.gather(*(talk() for _ in range(50)))

    asyncio.run(everybody())


def test_the_endpoint_is_given_back_when_the_gateway_stops(app: Any) -> None:
    endpoints: list[str | None] = []
    with serve(app) as gateway:
        endpoints.append(app.websocket_api._endpoint)
    endpoints.append(app.websocket_api._endpoint)

    assert endpoints == [gateway.management_url, None]
