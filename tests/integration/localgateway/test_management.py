"""The ``@connections`` API, seen by boto3 and by plain HTTP."""

import http.client
import json
import socket
import threading
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError  # noqa: TID251 - the client that is not ours
from websockets.sync.client import connect

from localgateway import LocalGateway
from tests.integration.localgateway.conftest import Certificate
from tests.integration.localgateway.support import (
    DEADLINE,
    NOBODY,
    SIGNED,
    Recorder,
    Start,
    connection_of,
    fetch,
    manage,
    management,
    until,
)


@pytest.mark.parametrize("escape", ["=", "%3D"])
def test_37_a_post_reaches_the_client_as_one_text(local_gateway: Start, escape: str) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url) as client:
        connection = gateway.connection_ids()[0]
        response = manage(gateway, "POST", connection.replace("=", escape), "é{}".encode())
        assert (response.status, response.body) == (200, b"")
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Content-Length"] == "0"
        assert client.recv(timeout=DEADLINE) == "é{}"


def test_37_a_long_post_is_one_message_in_several_frames(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url) as client:
        manage(gateway, "POST", gateway.connection_ids()[0], b"x" * 40_000)
        frames = list(client.recv_streaming(decode=True))
    assert [len(each) for each in frames] == [32_768, 7_232]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_38_an_unknown_connection_is_gone(local_gateway: Start, method: str) -> None:
    response = manage(local_gateway({}), method, NOBODY, b"" if method == "POST" else None)

    assert (response.status, response.body) == (410, b"")
    assert response.headers["x-amzn-ErrorType"] == "GoneException"
    assert response.headers["Content-Length"] == "0"


def test_38_boto3_raises_gone(local_gateway: Start) -> None:
    client_of = management(local_gateway({}).management_url)
    for call in (
        partial(client_of.post_to_connection, Data=b""),
        client_of.get_connection,
        client_of.delete_connection,
    ):
        with pytest.raises(client_of.exceptions.GoneException):
            call(ConnectionId=NOBODY)


@pytest.mark.parametrize("wrong", ["abc", "X2hB7d6KoAMCLzAA=", "X2hB7d6KoAMCLzA=test"])
def test_39_a_malformed_id_is_400(local_gateway: Start, wrong: str) -> None:
    response = manage(local_gateway({}), "POST", wrong, b"")

    assert response.status == 400
    assert json.loads(response.body) == {"message": f"Invalid connectionId: {wrong}"}
    assert response.headers["x-amzn-ErrorType"] == "BadRequestException"


def test_40_128_kb_pass_and_one_byte_more_is_413(local_gateway: Start) -> None:
    gateway = local_gateway({})
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        connection = gateway.connection_ids()[0]
        client_of.post_to_connection(ConnectionId=connection, Data=b"x" * 131_072)
        assert len(client.recv(timeout=DEADLINE)) == 131_072
        with pytest.raises(client_of.exceptions.PayloadTooLargeException):
            client_of.post_to_connection(ConnectionId=connection, Data=b"x" * 131_073)


def test_42_get_describes_the_connection(local_gateway: Start) -> None:
    gateway = local_gateway({"$default": lambda event, context: {"statusCode": 200}})
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url, user_agent_header="Test/1") as client:
        connection = gateway.connection_ids()[0]
        seen = client_of.get_connection(ConnectionId=connection)
        assert seen["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "Test/1"}
        assert seen["LastActiveAt"] >= seen["ConnectedAt"]
        gateway.skip(10)
        client.send("hello")
        client.ping().wait(DEADLINE)
        gateway.quiet()
        after_message = client_of.get_connection(ConnectionId=connection)
        gateway.skip(10)
        client_of.post_to_connection(ConnectionId=connection, Data=b"x")
        after_post = client_of.get_connection(ConnectionId=connection)
    assert seen["ConnectedAt"] == after_post["ConnectedAt"]
    assert seen["LastActiveAt"] < after_message["LastActiveAt"] < after_post["LastActiveAt"]


def test_42_a_client_without_a_user_agent_is_described_with_null(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url, user_agent_header=None):
        body = manage(gateway, "GET", gateway.connection_ids()[0]).body

    assert json.loads(body)["identity"] == {"sourceIp": "127.0.0.1", "userAgent": None}


def test_44_an_unsigned_request_or_another_stage_is_403(local_gateway: Start) -> None:
    gateway = local_gateway({})
    unsigned = fetch(gateway, "POST", f"/api/@connections/{NOBODY}", body=b"")
    elsewhere = fetch(gateway, "POST", f"/other/@connections/{NOBODY}", body=b"", headers=SIGNED)

    for response in (unsigned, elsewhere):
        assert (response.status, response.body) == (403, b'{"message":"Forbidden"}')
        assert response.headers["x-amzn-ErrorType"] == "ForbiddenException"


def test_44_signatures_can_be_left_out_by_a_setting(local_gateway: Start) -> None:
    gateway = local_gateway({}, signed=False)

    assert fetch(gateway, "GET", f"/api/@connections/{NOBODY}").status == 410


def test_44_signatures_can_be_checked(local_gateway: Start) -> None:
    good = local_gateway({}, credentials={"testing": "testing"})
    other = local_gateway({}, credentials={"testing": "other"})
    unknown = local_gateway({}, credentials={"other": "testing"})

    def error_of(gateway: LocalGateway) -> Any:
        with pytest.raises(ClientError) as caught:
            management(gateway.management_url).post_to_connection(
                ConnectionId=NOBODY, Data=b"\xff" * 1000
            )
        return caught.value.response["Error"]["Code"]

    assert error_of(good) == "GoneException"
    assert error_of(other) == "InvalidSignatureException"
    assert error_of(unknown) == "UnrecognizedClientException"


def test_45_throttling_is_429_and_boto3_tries_three_times(local_gateway: Start) -> None:
    gateway = local_gateway({})
    patient = management(gateway.management_url, attempts=3)
    with connect(gateway.ws_url) as client:
        connection = gateway.connection_ids()[0]
        gateway.chaos.answer_next(429, 429)
        response = patient.post_to_connection(ConnectionId=connection, Data=b"third time")
        assert response["ResponseMetadata"]["RetryAttempts"] == 2
        assert client.recv(timeout=DEADLINE) == "third time"
        gateway.chaos.answer_next(429)
        hasty = management(gateway.management_url)
        with pytest.raises(hasty.exceptions.LimitExceededException):
            hasty.post_to_connection(ConnectionId=connection, Data=b"")


def test_46_every_response_has_its_ids(local_gateway: Start) -> None:
    gateway = local_gateway({})
    responses = [
        manage(gateway, "POST", NOBODY, b""),
        manage(gateway, "POST", "abc", b""),
        fetch(gateway, "GET", f"/api/@connections/{NOBODY}"),
    ]
    with connect(gateway.ws_url):
        responses.append(manage(gateway, "GET", gateway.connection_ids()[0]))
        responses.append(manage(gateway, "DELETE", gateway.connection_ids()[0]))

    assert [each.status for each in responses] == [410, 400, 403, 200, 204]
    for name in ("x-amzn-RequestId", "x-amz-apigw-id"):
        assert len({each.headers[name] for each in responses}) == len(responses)


def test_47_a_client_that_does_not_read_is_bounded_and_slows_nobody(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    client_of = management(gateway.management_url)
    with (
        socket.create_connection(("127.0.0.1", gateway.port), DEADLINE) as deaf,
        connect(gateway.ws_url) as other,
    ):
        app.next("$connect")
        deaf.sendall(
            b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        connection = connection_of(app.next("$connect"))
        with pytest.raises(client_of.exceptions.LimitExceededException):
            for _ in range(10_000):  # the kernel's buffers come first
                client_of.post_to_connection(ConnectionId=connection, Data=b"x" * 131_072)
        client_of.post_to_connection(ConnectionId=gateway.connection_ids()[0], Data=b"hello")
        assert other.recv(timeout=DEADLINE) == "hello"
        deaf.settimeout(DEADLINE)
        until(lambda: deaf.recv(1 << 20) == b"" or accepts(client_of, connection))


def accepts(client_of: Any, connection: str) -> bool:
    """Tell whether a post gets through."""
    try:
        client_of.post_to_connection(ConnectionId=connection, Data=b"x")
    except client_of.exceptions.LimitExceededException:
        return False
    return True


def test_47_a_held_client_gets_everything_once_released(local_gateway: Start) -> None:
    gateway = local_gateway({})
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url, compression=None) as client:
        connection = gateway.connection_ids()[0]
        gateway.hold(connection)
        client_of.post_to_connection(ConnectionId=connection, Data=b"a" * 131_072)
        client_of.post_to_connection(ConnectionId=connection, Data=b"b" * 100_000)
        with pytest.raises(client_of.exceptions.LimitExceededException):
            client_of.post_to_connection(ConnectionId=connection, Data=b"c" * 131_072)
        gateway.release(connection)
        assert str(client.recv(timeout=DEADLINE))[0] == "a"
        assert str(client.recv(timeout=DEADLINE))[0] == "b"
        client_of.post_to_connection(ConnectionId=connection, Data=b"d")
        assert client.recv(timeout=DEADLINE) == "d"


def test_48_many_handlers_that_post_back_do_not_deadlock(local_gateway: Start) -> None:
    together = threading.Barrier(20)

    def post_back(event: Any) -> Any:
        together.wait(DEADLINE)
        client_of.post_to_connection(ConnectionId=connection_of(event), Data=b"back")
        return {"statusCode": 200}

    gateway = local_gateway(Recorder(default=post_back).handlers())
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        for _ in range(20):
            client.send("hello")
        assert [client.recv(timeout=DEADLINE) for _ in range(20)] == ["back"] * 20


def test_posts_go_over_tls_too(local_gateway: Start, certificate: Certificate) -> None:
    gateway = local_gateway({}, tls=certificate.server())
    client_of = management(gateway.management_url, verify=str(certificate.file))
    with connect(gateway.ws_url, ssl=certificate.client()) as client:
        connection = gateway.connection_ids()[0]
        client_of.post_to_connection(ConnectionId=connection, Data=b"x" * 131_072)
        assert len(client.recv(timeout=DEADLINE)) == 131_072
        client_of.delete_connection(ConnectionId=connection)


def test_what_is_not_text_is_refused(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url):
        assert manage(gateway, "POST", gateway.connection_ids()[0], b"\xff").status == 400


def test_another_method_is_refused(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url):
        assert manage(gateway, "PUT", gateway.connection_ids()[0], b"").status == 403


def test_posts_on_one_kept_connection_are_answered_in_turn(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url) as client:
        connection = gateway.connection_ids()[0]
        http_client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=DEADLINE)
        for number in range(5):
            body = str(number).encode()
            http_client.request("POST", f"/api/@connections/{connection}", body, SIGNED)
            assert http_client.getresponse().read() == b""
            assert client.recv(timeout=DEADLINE) == str(number)
        http_client.close()
