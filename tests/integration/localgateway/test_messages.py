"""Events and messages, seen by handlers on one side and the ``websockets`` client on the other."""

import json
import re
import threading
from typing import Any

import pytest
from websockets.sync.client import connect

from localgateway.events import Event
from tests.integration.localgateway.support import (
    DEADLINE,
    OK,
    Recorder,
    Start,
    closed,
    connection_of,
    management,
    until,
)


def test_16_each_event_comes_with_its_route(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        client.send("hello")
        app.next("$connect")
        app.next("$default")
    app.next("$disconnect")


def test_17_ids_are_fresh_in_each_event(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        for _ in range(10):
            client.send("hello")
        contexts = [app.next("$default")["requestContext"] for _ in range(10)]

    assert len({each["messageId"] for each in contexts}) == 10
    assert len({each["requestId"] for each in contexts}) == 10
    assert len({each["connectionId"] for each in contexts}) == 1


def test_18_connected_at_is_the_same_in_all_events(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        client.send("hello")
        contexts = [app.next(each)["requestContext"] for each in ("$connect", "$default")]
    contexts.append(app.next("$disconnect")["requestContext"])

    assert len({each["connectedAt"] for each in contexts}) == 1
    for each in contexts:
        assert isinstance(each["connectedAt"], int)
        assert each["connectedAt"] <= each["requestTimeEpoch"]
        assert re.fullmatch(
            r"\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} \+0000", each["requestTime"]
        )


def test_19_identity_is_that_of_the_handshake_in_all_events(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url, user_agent_header="Test/1") as client:
        client.send("hello")
        events = [app.next("$connect"), app.next("$default")]
    events.append(app.next("$disconnect"))
    with connect(gateway.ws_url, user_agent_header=None):
        silent = app.next("$connect")

    for event in events:
        identity = event["requestContext"]["identity"]
        assert identity == {"userAgent": "Test/1", "sourceIp": "127.0.0.1"}
    assert silent["requestContext"]["identity"] == {"sourceIp": "127.0.0.1"}


def test_20_headers_arrive_in_the_case_the_client_chose(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url, additional_headers=[("x-mIxEd", "1"), ("Cookie", "a=1")]):
        headers = app.next("$connect")["headers"]

    assert headers["x-mIxEd"] == "1"
    assert headers["Cookie"] == "a=1"
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Amzn-Trace-Id"].startswith("Root=1-")
    assert not {"connection", "upgrade"} & {name.lower() for name in headers}


def test_21_the_query_string_arrives_decoded(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url + "?a=1&a=2&b=%C3%A9"):
        event = app.next("$connect")

    assert event["queryStringParameters"] == {"a": "2", "b": "é"}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": ["é"]}


def test_22_body_is_the_exact_text_with_fragments_joined(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        for sent, received in (
            (' {"a" : 1} ', ' {"a" : 1} '),
            ("no json \U0001f600", "no json \U0001f600"),
            (["fra", "gmen", "ts"], "fragments"),
        ):
            client.send(sent)
            event = app.next("$default")
            assert (event["body"], event["isBase64Encoded"]) == (received, False)


def test_23_the_context_is_lambdas(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url):
        context = app.contexts.get(timeout=DEADLINE)

    assert 0 < context.get_remaining_time_in_millis() <= 60_000
    assert re.fullmatch(r"[0-9a-f-]{36}", context.aws_request_id)
    assert context.function_name == "connect"
    assert context.invoked_function_arn.endswith(":function:connect")
    assert context.function_version == "$LATEST"


def test_24_a_raising_handler_is_answered_with_the_error_frame(local_gateway: Start) -> None:
    def fail_on_boom(event: Event) -> Any:
        if event["body"] == "boom":
            raise ValueError("boom")
        return OK

    app = Recorder(default=fail_on_boom)
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        client.send("boom")
        context = app.next("$default")["requestContext"]
        assert client.recv(timeout=DEADLINE) == (
            '{"message": "Internal server error", '
            f'"connectionId":"{context["connectionId"]}", "requestId":"{context["requestId"]}"}}'
        )
        client.send("still open")
        assert app.next("$default")["body"] == "still open"


def test_25_a_message_without_a_route_is_forbidden(local_gateway: Start) -> None:
    with connect(local_gateway({"join": lambda event, context: OK}).ws_url) as client:
        client.send("hello")
        frame = str(client.recv(timeout=DEADLINE))
        client.send('{"action":"join"}')
        client.ping().wait(DEADLINE)

    assert re.fullmatch(
        r'\{"message": "Forbidden", "connectionId":"[\w-]{15}=", "requestId":"[\w-]{15}="\}', frame
    )


def test_26_a_slow_handler_is_reported_and_goes_on(local_gateway: Start) -> None:
    late = threading.Event()
    gateway = local_gateway(
        {"$default": lambda event, context: slow(event)}, integration_seconds=0.1
    )
    client_of = management(gateway.management_url)

    def slow(event: Event) -> Any:
        late.wait(DEADLINE)
        client_of.post_to_connection(ConnectionId=connection_of(event), Data=b"late")
        return OK

    with connect(gateway.ws_url) as client:
        client.send("hello")
        timed_out = json.loads(client.recv(timeout=DEADLINE))
        assert timed_out["message"] == "Endpoint request timed out"
        assert timed_out["connectionId"] == gateway.connection_ids()[0]
        late.set()
        assert client.recv(timeout=DEADLINE) == "late"


@pytest.mark.parametrize("result", [{"statusCode": 200, "body": "x"}, {"statusCode": 500}])
def test_27_what_a_handler_returns_is_not_sent(local_gateway: Start, result: Any) -> None:
    app = Recorder(default=lambda event: result)
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as client:
        app.next("$connect")
        client.send("hello")
        app.next("$default")
        gateway.quiet()
        management(gateway.management_url).post_to_connection(
            ConnectionId=gateway.connection_ids()[0], Data=b"first"
        )
        assert client.recv(timeout=DEADLINE) == "first"


def test_27_a_route_with_a_response_sends_the_body_back(local_gateway: Start) -> None:
    handlers = {"echo": lambda event, context: {"statusCode": 200, "body": event["body"]}}
    with connect(local_gateway(handlers, route_responses=["echo"]).ws_url) as client:
        client.send('{"action":"echo"}')
        assert client.recv(timeout=DEADLINE) == '{"action":"echo"}'


def test_28_messages_of_one_connection_run_concurrently(local_gateway: Start) -> None:
    together = threading.Barrier(3)
    app = Recorder(default=lambda event: together.wait(DEADLINE) >= 0 and OK)
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as client:
        client.send("one")
        client.send("two")
        together.wait(DEADLINE)  # passes only while both handlers run
        gateway.quiet()


def test_29_too_big_a_frame_or_message_closes_1009(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    chunks = ["x" * 32_768] * 4
    for fits, too_big in (("x" * 32_768, "x" * 32_769), (chunks, [*chunks, "x"])):
        with connect(gateway.ws_url, compression=None) as client:
            app.next("$connect")
            client.send(fits)
            assert len(app.next("$default")["body"]) == len("".join(fits))
            client.send(too_big)
            assert closed(client)[0] == 1009
        assert app.next("$disconnect")["requestContext"]["disconnectStatusCode"] == 1009


def test_29_the_close_frame_outlives_a_client_that_goes_on_sending(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url, compression=None) as client:
        client.send("x" * 5_000_000)
        assert closed(client)[0] == 1009


def test_29_what_deflate_hides_counts_at_its_true_size(local_gateway: Start) -> None:
    with connect(local_gateway({}).ws_url) as client:
        client.send("x" * 10_000_000)
        assert closed(client)[0] == 1009


def test_30_a_binary_frame_closes_1003(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        client.send(b"\0\1")
        assert closed(client)[0] == 1003
    assert app.next("$disconnect")["requestContext"]["disconnectStatusCode"] == 1003


def test_31_pings_are_answered_by_the_gateway_alone(local_gateway: Start) -> None:
    app = Recorder()
    with connect(local_gateway(app.handlers()).ws_url) as client:
        app.next("$connect")
        assert client.ping(b"payload").wait(DEADLINE)
        client.send("first")
        assert app.next("$default")["body"] == "first"


def test_messages_beyond_the_concurrency_cap_are_refused(local_gateway: Start) -> None:
    returning = threading.Event()
    app = Recorder(default=lambda event: returning.wait(DEADLINE) and OK)
    with connect(local_gateway(app.handlers(), concurrency=1).ws_url) as client:
        app.next("$connect")
        client.send("one")
        client.send("two")
        assert json.loads(client.recv(timeout=DEADLINE))["message"] == "Too Many Requests"
        returning.set()


def test_32_ten_idle_minutes_cut_only_idle_connections(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as idle, connect(gateway.ws_url) as busy:
        app.next("$connect")
        app.next("$connect")
        gateway.skip(500)
        busy.send("hello")
        app.next("$default")
        gateway.skip(100)
        assert closed(idle) == (1001, "Going away")
        context = app.next("$disconnect")["requestContext"]
        assert context["disconnectStatusCode"] == 1001
        assert context["disconnectReason"] == "Going away"
        assert context["requestTimeEpoch"] - context["connectedAt"] >= 600_000
        assert busy.ping().wait(DEADLINE)


def test_32_a_post_restarts_the_idle_clock(local_gateway: Start) -> None:
    gateway = local_gateway({})
    with connect(gateway.ws_url) as client:
        gateway.skip(500)
        management(gateway.management_url).post_to_connection(
            ConnectionId=gateway.connection_ids()[0], Data=b"x"
        )
        gateway.skip(500)
        assert client.recv(timeout=DEADLINE) == "x"
        gateway.skip(100)
        assert closed(client) == (1001, "Going away")


def test_32_the_idle_clock_needs_no_help(local_gateway: Start) -> None:
    gateway = local_gateway({}, idle_seconds=0.1)
    with connect(gateway.ws_url) as client:
        assert closed(client) == (1001, "Going away")
    until(lambda: not gateway.connection_ids())


def test_33_two_hours_cut_even_a_busy_connection(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as client:
        app.next("$connect")
        for _ in range(15):
            gateway.skip(479)
            client.send("hello")
            app.next("$default")
        gateway.skip(15)
        assert closed(client) == (1001, "Going away")


def test_a_client_over_its_message_rate_is_closed_1008(local_gateway: Start) -> None:
    with connect(local_gateway({}, messages_per_second=2).ws_url) as client:
        for _ in range(3):
            client.send("x")
        assert closed(client)[0] == 1008
