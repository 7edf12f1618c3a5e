"""Handshakes, seen by the ``websockets`` client and by plain HTTP."""

import threading
from typing import Any

import pytest
from websockets.exceptions import NegotiationError
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.integration.localgateway.conftest import Certificate
from tests.integration.localgateway.support import (
    OK,
    Recorder,
    Start,
    connection_of,
    fetch,
    manage,
    refusal,
)

A, B = Subprotocol("a"), Subprotocol("b")


def answering(result: Any) -> dict[str, Any]:
    return {"$connect": lambda event, context: result}


def test_1_the_101_waits_for_connect_to_return(local_gateway: Start) -> None:
    returning = threading.Event()
    app = Recorder(connect=lambda event: returning.wait(20) and OK)
    gateway = local_gateway(app.handlers())
    opened = threading.Event()

    def open_and_leave() -> None:
        with connect(gateway.ws_url):
            opened.set()

    thread = threading.Thread(target=open_and_leave)
    thread.start()
    app.next("$connect")
    assert not opened.wait(0.2)
    returning.set()
    assert opened.wait(20)
    thread.join()


def test_2_a_trailing_slash_is_the_same_and_another_stage_is_403(local_gateway: Start) -> None:
    gateway = local_gateway({}, stage="dev")
    root = gateway.ws_url.removesuffix("/dev")

    assert refusal(f"{root}/dev/?a=1") == 101
    assert [refusal(f"{root}{path}") for path in ("", "/api", "/dev/x", "/dev//")] == [403] * 4
    response = fetch(gateway, "GET", "/api")
    assert (response.status, response.body) == (403, b'{"message":"Forbidden"}')


def test_3_a_plain_get_is_426(local_gateway: Start) -> None:
    gateway = local_gateway({})

    assert fetch(gateway, "GET", "/api").status == 426
    assert fetch(gateway, "GET", "/api/").status == 426


@pytest.mark.parametrize("status", [200, 201, 301, 400, 401, 403, 500, 501])
def test_4_connect_decides_the_status(local_gateway: Start, status: int) -> None:
    gateway = local_gateway(answering({"statusCode": status, "body": "secret"}))

    assert refusal(gateway.ws_url) == (101 if status < 300 else status)


def test_5_a_connect_that_raises_or_has_no_status_is_502(local_gateway: Start) -> None:
    def raising(event: Any, context: Any) -> None:
        raise RuntimeError

    def unserialisable(event: Any, context: Any) -> Any:
        return {"statusCode": 200, "body": object()}

    assert refusal(local_gateway({"$connect": raising}).ws_url) == 502
    assert refusal(local_gateway({"$connect": unserialisable}).ws_url) == 502
    assert refusal(local_gateway(answering(None)).ws_url) == 502


def test_6_a_connect_over_the_integration_timeout_is_504(local_gateway: Start) -> None:
    late = threading.Event()
    app = Recorder(connect=lambda event: late.wait(20) and OK)
    gateway = local_gateway(app.handlers(), integration_seconds=0.1)

    assert refusal(gateway.ws_url) == 504
    late.set()
    gateway.quiet()
    assert gateway.connection_ids() == []
    app.next("$connect")
    assert app.events.empty()


def test_7_connect_and_disconnect_handlers_are_optional(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway({"$default": app.handlers()["$default"]})

    with connect(gateway.ws_url) as client:
        client.send("hello")
        app.next("$default")
    gateway.quiet()
    assert app.events.empty()


def test_8_neither_other_headers_nor_the_body_reach_the_client(local_gateway: Start) -> None:
    headers = {"Set-Cookie": "a=1", "X-Mine": "1", "Content-Type": "text/plain"}
    accepting = local_gateway(answering({"statusCode": 200, "headers": headers, "body": "b"}))
    refusing = local_gateway(answering({"statusCode": 401, "headers": headers, "body": "secret"}))

    with connect(accepting.ws_url) as client:
        assert client.response is not None
        assert not {"Set-Cookie", "X-Mine"} & set(client.response.headers)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    response = fetch(refusing, "GET", "/api", headers=upgrade)
    assert response.status == 401
    assert b"secret" not in response.body
    assert not {"Set-Cookie", "X-Mine"} & set(response.headers)


def test_9_a_subprotocol_is_only_what_connect_returns(local_gateway: Start) -> None:
    silent = local_gateway(answering(OK))
    headers = {"Sec-WebSocket-Protocol": "b", "Set-Cookie": "x"}
    choosing = local_gateway(answering({"statusCode": 200, "headers": headers}))

    with connect(silent.ws_url, subprotocols=[A, B]) as client:
        assert client.subprotocol is None
    with connect(choosing.ws_url, subprotocols=[A, B]) as client:
        assert client.subprotocol == "b"
        assert client.response is not None
        assert "Set-Cookie" not in client.response.headers
    with pytest.raises(NegotiationError), connect(choosing.ws_url):
        pass


def test_10_a_refused_connect_leaves_no_connection(local_gateway: Start) -> None:
    app = Recorder(connect=lambda event: {"statusCode": 403})
    gateway = local_gateway(app.handlers())

    assert refusal(gateway.ws_url) == 403
    assert manage(gateway, "GET", connection_of(app.next("$connect"))).status == 410
    gateway.quiet()
    assert app.events.empty()


def test_11_tls_serves_wss_and_https_on_one_port(
    local_gateway: Start, certificate: Certificate
) -> None:
    gateway = local_gateway({}, tls=certificate.server())

    assert gateway.ws_url == f"wss://127.0.0.1:{gateway.port}/api"
    assert gateway.management_url == f"https://127.0.0.1:{gateway.port}/api"
    with connect(gateway.ws_url, ssl=certificate.client()) as client:
        assert client.response is not None
        extensions = client.response.headers["Sec-WebSocket-Extensions"]
        assert extensions == "permessage-deflate; server_max_window_bits=12"


def test_11_deflate_is_left_out_when_it_is_not_offered(local_gateway: Start) -> None:
    with connect(local_gateway({}).ws_url, compression=None) as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.parametrize(
    "missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Upgrade", "Connection"]
)
def test_a_handshake_that_is_none_never_reaches_connect(local_gateway: Start, missing: str) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    del headers[missing]

    expected = 426 if missing in ("Upgrade", "Connection") else 400
    assert fetch(gateway, "GET", "/api", headers=headers).status == expected
    assert app.events.empty()


def test_connects_beyond_the_concurrency_cap_are_429(local_gateway: Start) -> None:
    returning = threading.Event()
    app = Recorder(connect=lambda event: returning.wait(20) and OK)
    gateway = local_gateway(app.handlers(), concurrency=1)

    first = threading.Thread(target=lambda: refusal(gateway.ws_url))
    first.start()
    app.next("$connect")
    assert refusal(gateway.ws_url) == 429
    returning.set()
    first.join()


def test_connects_beyond_the_rate_are_429(local_gateway: Start) -> None:
    gateway = local_gateway({}, connects_per_second=0.001)

    assert [refusal(gateway.ws_url), refusal(gateway.ws_url)] == [101, 429]


def test_a_client_that_leaves_during_connect_gets_its_disconnect(local_gateway: Start) -> None:
    returning = threading.Event()
    app = Recorder(connect=lambda event: returning.wait(20) and OK)
    gateway = local_gateway(app.handlers())
    with pytest.raises(TimeoutError), connect(gateway.ws_url, open_timeout=0.2):
        pass
    connection = connection_of(app.next("$connect"))
    returning.set()

    event = app.next("$disconnect")
    assert connection_of(event) == connection
    assert event["requestContext"]["disconnectStatusCode"] == 1006
    assert gateway.connection_ids() == []


def test_an_authorizer_decides_before_connect(local_gateway: Start) -> None:
    def authorize(event: Any, context: Any) -> Any:
        token = event["queryStringParameters"]["token"]
        if token == "bad":
            raise PermissionError("Unauthorized")
        if token == "broken":
            raise RuntimeError
        effect = "Allow" if token == "good" else "Deny"
        statement = {
            "Action": "execute-api:Invoke",
            "Effect": effect,
            "Resource": event["methodArn"],
        }
        return {
            "principalId": "me",
            "policyDocument": {"Statement": [statement]},
            "context": {"plan": "free"},
        }

    app = Recorder()
    sources = ["route.request.querystring.token"]
    gateway = local_gateway(app.handlers(), authorizer=authorize, identity_sources=sources)
    statuses = [
        refusal(gateway.ws_url + query)
        for query in ("", "?token=bad", "?token=other", "?token=broken")
    ]

    assert statuses == [401, 401, 403, 500]
    assert app.events.empty()
    with connect(gateway.ws_url + "?token=good") as client:
        client.send("hello")
        events = [app.next("$connect"), app.next("$default")]
    events.append(app.next("$disconnect"))
    for event in events:
        said = event["requestContext"]["authorizer"]
        assert (said["principalId"], said["plan"]) == ("me", "free")
