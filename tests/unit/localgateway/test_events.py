"""Events have exactly the captured keys and values."""

from typing import Any

from localgateway.events import (
    Api,
    Handshake,
    Life,
    Moment,
    connect_event,
    disconnect_event,
    message_event,
    milliseconds,
)

API = Api("nn27okk1we", "develop", "nn27okk1we.execute-api.eu-west-1.amazonaws.com", {})
HEADERS = (
    ("host", "nn27okk1we.execute-api.eu-west-1.amazonaws.com"),
    ("User-Agent", "Mozilla/5.0"),
    ("Upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Cookie", "a=1"),
)
HANDSHAKE = Handshake(HEADERS, "", "185.69.197.15")
LIFE = Life("TXzPWdnOjoECGjA=", 1708326702789, HANDSHAKE.identity)
MOMENT = Moment("TXzPWFkkjoEF92g=", 1708326702.790)
TRACE = "Root=1-65d2ff2e-718990494fd688f062bf1571"
CONTEXT = {
    "routeKey",
    "eventType",
    "extendedRequestId",
    "requestTime",
    "messageDirection",
    "stage",
    "connectedAt",
    "requestTimeEpoch",
    "identity",
    "requestId",
    "domainName",
    "connectionId",
    "apiId",
}


def connected(handshake: Handshake = HANDSHAKE, api: Api = API) -> dict[str, Any]:
    return connect_event(api, LIFE, MOMENT, handshake, TRACE)


def messaged(body: str = "{}") -> dict[str, Any]:
    return message_event(API, LIFE, MOMENT, route="$default", message_id="m", body=body)


def disconnected() -> dict[str, Any]:
    return disconnect_event(API, LIFE, MOMENT, code=1001, reason="Going away")


def test_12_connect_has_no_body_and_query_keys_only_with_a_query() -> None:
    top = {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}
    query = {"queryStringParameters", "multiValueQueryStringParameters"}

    assert set(connected()) == top
    assert set(connected(Handshake(HEADERS, "token=abc", "::1"))) == top | query


def test_13_connect_context_has_the_thirteen_captured_keys() -> None:
    assert set(connected()["requestContext"]) == CONTEXT


def test_14_message_has_context_and_body_only() -> None:
    event = messaged()

    assert set(event) == {"requestContext", "body", "isBase64Encoded"}
    assert set(event["requestContext"]) == CONTEXT | {"messageId"}


def test_15_disconnect_has_the_four_captured_headers() -> None:
    event = disconnected()

    assert set(event) == {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}
    assert set(event["requestContext"]) == CONTEXT | {"disconnectStatusCode", "disconnectReason"}
    assert event["headers"] == {
        "Host": API.domain_name,
        "x-api-key": "",
        "X-Forwarded-For": "",
        "x-restapi": "",
    }
    assert event["multiValueHeaders"] == {key: [v] for key, v in event["headers"].items()}


def test_16_route_keys_and_event_types_go_together() -> None:
    contexts = [each["requestContext"] for each in (connected(), messaged(), disconnected())]

    assert [(each["routeKey"], each["eventType"]) for each in contexts] == [
        ("$connect", "CONNECT"),
        ("$default", "MESSAGE"),
        ("$disconnect", "DISCONNECT"),
    ]
    assert {each["messageDirection"] for each in contexts} == {"IN"}


def test_17_request_id_equals_extended_request_id() -> None:
    for event in (connected(), messaged(), disconnected()):
        context = event["requestContext"]
        assert context["requestId"] == context["extendedRequestId"] == MOMENT.request_id


def test_18_times_are_in_utc_and_milliseconds() -> None:
    context = connected()["requestContext"]

    assert context["requestTime"] == "19/Feb/2024:07:11:42 +0000"
    assert context["requestTimeEpoch"] == milliseconds(MOMENT.now) == 1708326702790
    assert context["connectedAt"] == 1708326702789


def test_19_identity_has_no_user_agent_when_none_was_sent() -> None:
    silent = Handshake((("Host", "x"),), "", "127.0.0.1")

    assert HANDSHAKE.identity == {"userAgent": "Mozilla/5.0", "sourceIp": "185.69.197.15"}
    assert silent.identity == {"sourceIp": "127.0.0.1"}


def test_20_headers_keep_their_case_and_gain_the_forwarded_ones() -> None:
    event = connected()

    assert event["headers"] == {
        "Cookie": "a=1",
        "host": API.domain_name,
        "Sec-WebSocket-Version": "13",
        "User-Agent": "Mozilla/5.0",
        "X-Amzn-Trace-Id": TRACE,
        "X-Forwarded-For": "185.69.197.15",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    assert list(event["headers"]) == sorted(event["headers"], key=str.lower)


def test_20_a_repeated_header_keeps_all_values_in_the_multi_map() -> None:
    handshake = Handshake((("X-A", "1"), ("X-A", "2"), ("X-Forwarded-For", "10.0.0.1")), "", "::1")
    event = connected(handshake)

    assert event["headers"]["X-A"] == "2"
    assert event["multiValueHeaders"]["X-A"] == ["1", "2"]
    assert event["headers"]["X-Forwarded-For"] == "10.0.0.1, ::1"


def test_21_the_last_of_a_repeated_query_key_wins_and_values_are_decoded() -> None:
    event = connected(Handshake(HEADERS, "a=1&a=2&b=%C3%A9%3D&empty=", "::1"))

    assert event["queryStringParameters"] == {"a": "2", "b": "é=", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {
        "a": ["1", "2"],
        "b": ["é="],
        "empty": [""],
    }


def test_22_body_is_the_exact_text() -> None:
    for text in ("", "no json", ' {"action" : "ping"} ', "\u0000é\U0001f600"):
        assert messaged(text)["body"] == text
        assert messaged(text)["isBase64Encoded"] is False


def test_stage_variables_appear_only_if_the_stage_has_some() -> None:
    with_variables = Api("nn27okk1we", "develop", "d", {"table": "t"})

    assert connected(api=with_variables)["stageVariables"] == {"table": "t"}
    assert "stageVariables" not in connected()


def test_what_an_authorizer_said_is_in_every_event() -> None:
    life = Life("TXzPWdnOjoECGjA=", 1, {}, {"principalId": "me", "integrationLatency": 3})
    event = disconnect_event(API, life, MOMENT, code=1000, reason="")

    assert event["requestContext"]["authorizer"]["principalId"] == "me"
