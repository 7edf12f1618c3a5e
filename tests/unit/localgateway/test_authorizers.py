"""What becomes of an authorizer's answer."""

from typing import Any

import pytest

from localgateway.authorizers import (
    authorizer_event,
    check_sources,
    judge_authorizer,
    lacks_identity,
    method_arn,
)
from localgateway.events import Api, Handshake, Life, Moment, connect_event
from localgateway.verdicts import Ending, Outcome

API = Api("localapi00", "dev", "localhost", {})
ARN = method_arn(API)
HANDSHAKE = Handshake(
    (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Auth", "x")), "token=t&empty=", "::1"
)
EVENT = connect_event(API, Life("id", 1, {}), Moment("r", 1.0), HANDSHAKE, "Root=1")


def policy(effect: str, resource: Any = ARN, action: Any = "execute-api:Invoke") -> dict[str, Any]:
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return {"principalId": "me", "policyDocument": {"Statement": [statement]}}


def status_of(answer: Any) -> int:
    return judge_authorizer(Outcome(Ending.RETURNED, answer), ARN, latency_ms=3).status


@pytest.mark.parametrize("resource", [ARN, "*", ["x", ARN], ARN.replace("dev", "*")])
def test_an_allowing_policy_lets_in(resource: Any) -> None:
    assert status_of(policy("Allow", resource)) == 101
    assert status_of(policy("Allow", resource, "execute-api:*")) == 101


def test_a_denying_policy_or_a_silent_one_is_403() -> None:
    both = policy("Allow")
    both["policyDocument"]["Statement"] += policy("Deny")["policyDocument"]["Statement"]

    assert status_of(policy("Deny")) == 403
    assert status_of(both) == 403
    assert status_of(policy("Allow", ARN.replace("dev", "prod"))) == 403
    assert status_of(policy("Allow", action="dynamodb:*")) == 403


@pytest.mark.parametrize(
    "answer", [None, "x", {}, {"principalId": "me"}, {"policyDocument": {"Statement": []}}]
)
def test_an_answer_without_a_usable_policy_is_500(answer: Any) -> None:
    assert status_of(answer) == 500


def test_raising_unauthorized_is_401_and_anything_else_500() -> None:
    unauthorized = Outcome(Ending.RAISED, error="Unauthorized")

    assert judge_authorizer(unauthorized, ARN, latency_ms=0).status == 401
    assert judge_authorizer(Outcome(Ending.RAISED, error="x"), ARN, latency_ms=0).status == 500
    assert judge_authorizer(Outcome(Ending.TIMED_OUT), ARN, latency_ms=0).status == 500


def test_what_it_says_goes_into_the_events() -> None:
    outcome = Outcome(Ending.RETURNED, policy("Allow") | {"context": {"plan": "free"}})

    assert judge_authorizer(outcome, ARN, latency_ms=3).context == {
        "principalId": "me",
        "integrationLatency": 3,
        "plan": "free",
    }


def test_its_event_has_the_headers_that_connect_does_not_get() -> None:
    event = authorizer_event(EVENT, API, HANDSHAKE)

    assert event["type"] == "REQUEST"
    assert event["methodArn"].endswith(":localapi00/dev/$connect")
    assert event["headers"]["Upgrade"] == "websocket"
    assert "isBase64Encoded" not in event


def test_a_missing_identity_source_is_noticed() -> None:
    header, query = "route.request.header.", "route.request.querystring."

    assert not lacks_identity(EVENT, [header + "auth", query + "token"])
    assert lacks_identity(EVENT, [header + "Other"])
    assert lacks_identity(EVENT, [query + "empty"])


def test_what_is_no_identity_source_is_refused() -> None:
    check_sources(["route.request.header.A", "route.request.querystring.b"])
    with pytest.raises(ValueError, match="identity source 'token'"):
        check_sources(["token"])
