"""A REQUEST authorizer of ``$connect``: what it is asked, and what becomes of its answer.

Source: AWS API Gateway developer guide, "Control access to WebSocket APIs with AWS Lambda REQUEST
authorizers". Chalice has no way to declare one; an app that adds one in its template can be run
with it through the settings ``authorizer`` and ``identity_sources``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from localgateway.events import CONNECT, Api, Event, Handshake
from localgateway.verdicts import Ending, Outcome

_SOURCE = re.compile(r"route\.request\.(header|querystring)\.(.+)")
_INVOKE = "execute-api:Invoke"


@dataclass(frozen=True, slots=True)
class Authorization:
    """A refusal's status, or what the authorizer says of the connection in its events."""

    status: int
    context: Mapping[str, Any] | None = None


REFUSED_UNASKED = Authorization(401)


def method_arn(api: Api) -> str:
    """Name what a policy must allow; the account and region are made up, as Chalice's are."""
    return f"arn:aws:execute-api:mars-west-1:123456789012:{api.api_id}/{api.stage}/{CONNECT}"


def authorizer_event(connect: Event, api: Api, handshake: Handshake) -> Event:
    """Turn the ``$connect`` event into the authorizer's, which has all headers of the request."""
    added = {"type": "REQUEST", "methodArn": method_arn(api)}
    hop_by_hop = {
        name: value
        for name, value in handshake.headers
        if name.lower() in ("connection", "upgrade")
    }
    rest = {key: value for key, value in connect.items() if key != "isBase64Encoded"}
    headers = connect["headers"] | hop_by_hop
    multi = connect["multiValueHeaders"] | {name: [value] for name, value in hop_by_hop.items()}
    return added | rest | {"headers": headers, "multiValueHeaders": multi}


def check_sources(sources: Iterable[str]) -> None:
    """Refuse what is no identity source.

    Raises:
        ValueError: one is neither ``route.request.header.X`` nor ``route.request.querystring.x``.
    """
    for source in sources:
        if _SOURCE.fullmatch(source) is None:
            raise ValueError(
                f"identity source {source!r} is neither route.request.header.<name> "
                "nor route.request.querystring.<name>"
            )


def lacks_identity(connect: Event, sources: Iterable[str]) -> bool:
    """Tell whether an identity source is missing or empty: then the answer is 401, unasked."""
    for kind, name in _SOURCE.findall("\n".join(sources)):
        if kind == "header":
            given = {key.lower(): value for key, value in connect["headers"].items()}
            value = given.get(name.lower())
        else:
            value = connect.get("queryStringParameters", {}).get(name)
        if not value:
            return True
    return False


def judge_authorizer(outcome: Outcome, arn: str, *, latency_ms: int) -> Authorization:
    """Decide by the authorizer's answer: 101, 401, 403 or, if it has no usable shape, 500."""
    if outcome.ending is Ending.RAISED and outcome.error == "Unauthorized":
        return Authorization(401)
    answer = outcome.value
    if outcome.ending is not Ending.RETURNED or not isinstance(answer, dict):
        return Authorization(500)
    try:
        allowed = _allows(answer["policyDocument"]["Statement"], arn)
        context = {
            "principalId": str(answer["principalId"]),
            "integrationLatency": latency_ms,
            **(answer.get("context") or {}),
        }
    except (KeyError, TypeError, AttributeError):
        return Authorization(500)
    return Authorization(101, context) if allowed else Authorization(403)


def _allows(statements: Any, arn: str) -> bool:
    """Evaluate as IAM does: an explicit Deny wins, and silence denies. Conditions are ignored."""
    effects = {
        statement["Effect"]
        for statement in _listed(statements)
        if any(_matches(action, _INVOKE) for action in _listed(statement["Action"]))
        and any(_matches(resource, arn) for resource in _listed(statement["Resource"]))
    }
    return effects == {"Allow"}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _matches(pattern: str, text: str) -> bool:
    """Match with IAM's wildcards, ``*`` and ``?``."""
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, text) is not None
