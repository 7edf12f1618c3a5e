"""What the gateway makes of what handlers return."""

from typing import Any

import pytest

from localgateway.verdicts import (
    Ending,
    Outcome,
    Verdict,
    complaint,
    error_frame,
    judge_handshake,
    returned_body,
)


def returned(value: Any) -> Outcome:
    return Outcome(Ending.RETURNED, value)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_4_any_2xx_accepts(status: int) -> None:
    assert judge_handshake(returned({"statusCode": status})) == Verdict(101)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 500, 501, 503])
def test_4_any_other_status_is_passed_on(status: int) -> None:
    assert judge_handshake(returned({"statusCode": status})) == Verdict(status)


@pytest.mark.parametrize(
    "value",
    [None, "ok", 200, [], {}, {"statusCode": "200"}, {"statusCode": True}, {"statusCode": 7}],
)
def test_5_a_result_without_a_usable_status_is_502(value: Any) -> None:
    assert judge_handshake(returned(value)) == Verdict(502)


def test_5_a_raising_handler_is_502() -> None:
    assert judge_handshake(Outcome(Ending.RAISED)) == Verdict(502)


def test_6_a_slow_handler_is_504() -> None:
    assert judge_handshake(Outcome(Ending.TIMED_OUT)) == Verdict(504)


def test_a_throttled_handler_is_429() -> None:
    assert judge_handshake(Outcome(Ending.THROTTLED)) == Verdict(429)


@pytest.mark.parametrize(
    "headers",
    [
        {"headers": {"Sec-WebSocket-Protocol": "b", "Set-Cookie": "x=1"}},
        {"headers": {"sec-websocket-protocol": "b"}},
        {"headers": None, "multiValueHeaders": {"Sec-WebSocket-Protocol": ["a", "b"]}},
    ],
)
def test_8_only_the_subprotocol_is_taken_from_the_response(headers: dict[str, Any]) -> None:
    assert judge_handshake(returned({"statusCode": 200, **headers})) == Verdict(101, "b")


def test_9_no_subprotocol_is_chosen_for_the_handler() -> None:
    assert judge_handshake(returned({"statusCode": 200, "headers": {}})).subprotocol is None


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a b", ""])
def test_a_subprotocol_that_is_no_token_is_502(value: str) -> None:
    result = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": value}}

    assert judge_handshake(returned(result)) == Verdict(502)


def test_24_the_error_frame_is_byte_exact() -> None:
    assert error_frame("Internal server error", "DBNjmfOmSwMCJiA=", "DBNlXFDjSwMF3FA=") == (
        '{"message": "Internal server error", '
        '"connectionId":"DBNjmfOmSwMCJiA=", "requestId":"DBNlXFDjSwMF3FA="}'
    )


def test_24_raising_and_unusable_results_are_internal_errors() -> None:
    assert complaint(Outcome(Ending.RAISED), None) == "Internal server error"
    assert complaint(returned(None), None) == "Internal server error"


def test_26_a_slow_message_handler_is_reported() -> None:
    assert complaint(Outcome(Ending.TIMED_OUT), None) == "Endpoint request timed out"


@pytest.mark.parametrize("status", [200, 204, 400, 500, 501])
def test_27_no_status_is_reported_by_default(status: int) -> None:
    assert complaint(returned({"statusCode": status}), None) is None


def test_27_statuses_can_be_made_to_be_reported() -> None:
    assert complaint(returned({"statusCode": 400}), 400) == "Internal server error"
    assert complaint(returned({"statusCode": 399}), 400) is None


def test_a_throttled_message_is_reported() -> None:
    assert complaint(Outcome(Ending.THROTTLED), None) == "Too Many Requests"


def test_27_a_body_is_there_for_routes_that_respond() -> None:
    assert returned_body(returned({"statusCode": 200, "body": "x"})) == "x"
    assert returned_body(returned({"statusCode": 200})) is None
    assert returned_body(returned("x")) is None
