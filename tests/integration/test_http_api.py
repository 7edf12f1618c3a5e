"""The HTTP API over real HTTP: what each route answers, above all to what is wrong."""

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from devstack.stack import Urls

METHODS = ["publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "channels", "info"]
KEY = {"X-API-Key": "local-key"}


def call(
    stack: Urls,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    verb: str = "POST",
) -> tuple[int, Any]:
    """One request with its own connection; the status, and the body as JSON."""
    connection = http.client.HTTPConnection(urlsplit(stack.http).netloc, timeout=30)
    sent = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
    try:
        connection.request(verb, path, sent, KEY if headers is None else headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_publish_answers_under_both_paths(stack: Urls, prefix: str) -> None:
    assert call(stack, f"{prefix}/publish", {"channel": "a", "data": 1}) == (200, {"result": {}})


def test_health_needs_no_key(stack: Urls) -> None:
    assert call(stack, "/health", headers={}, verb="GET") == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "local-key"},
        {"Authorization": "apikey local-key"},
        {"X-API-Key": "local-key", "Content-Type": "application/x-www-form-urlencoded"},
        {"X-API-Key": "local-key", "Content-Type": "application/octet-stream"},
        {"X-API-Key": "local-key", "Content-Type": "text/plain; charset=utf-8"},
    ],
)
def test_any_content_type_and_either_header_will_do(stack: Urls, headers: dict[str, str]) -> None:
    status, answer = call(stack, "/publish", {"channel": "a", "data": 1}, headers)

    assert (status, answer) == (200, {"result": {}})


@pytest.mark.parametrize("method", [*METHODS, "batch"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "wrong"}, {"Authorization": "apikey wrong"}, {"Authorization": "local-key"}],
)
def test_no_key_or_a_wrong_one_is_401(stack: Urls, method: str, headers: dict[str, str]) -> None:
    status, answer = call(stack, f"/{method}", {}, headers)

    assert (status, answer["error"]["code"]) == (401, 101)


@pytest.mark.parametrize("method", [*METHODS, "batch"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b'"a"', b"nope", b"\xff\xfe{}"])
def test_a_body_that_is_no_json_object_is_400(stack: Urls, method: str, body: bytes) -> None:
    status, answer = call(stack, f"/{method}", body)

    assert (status, answer["error"]["code"]) == (400, 107)
    assert "the body is not JSON" in answer["error"]["message"]


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
def test_a_wrong_http_method_is_405(stack: Urls, verb: str) -> None:
    status, answer = call(stack, "/publish", verb=verb)

    assert (status, answer["Code"]) == (405, "MethodNotAllowedError")


@pytest.mark.parametrize(
    ("path", "body", "code", "problem"),
    [
        ("publish", {}, 107, "missing required field `channel`"),
        ("publish", {"channel": 7, "data": 1}, 107, "`publish.channel`"),
        ("publish", {"channel": "a"}, 107, "one of data and b64data is required"),
        ("publish", {"channel": "a", "data": 1, "b64data": "MQ=="}, 107, "one of data and b64"),
        ("publish", {"channel": "a", "b64data": "!"}, 107, "b64data: expected JSON in base64"),
        ("publish", {"channel": "a", "b64data": "bm9wZQ=="}, 107, "b64data: expected JSON"),
        ("publish", {"channel": "a", "data": 1, "tags": {"k": 1}}, 107, "`publish.tags"),
        ("publish", {"channel": "", "data": 1}, 107, "channel is required"),
        ("publish", {"channel": "x" * 256, "data": 1}, 107, "256 characters, at most 255"),
        ("publish", {"channel": "a\u0007", "data": 1}, 107, "printable ASCII"),
        ("publish", {"channel": "nowhere:a", "data": 1}, 102, "no namespace 'nowhere'"),
        ("publish", {"channel": "a", "data": "x" * 132_096}, 106, "at most 65536"),
        ("broadcast", {"channels": [], "data": 1}, 107, "`broadcast.channels`"),
        ("broadcast", {"channels": ["a"] * 1001, "data": 1}, 107, "`broadcast.channels`"),
        ("subscribe", {"channel": "a"}, 107, "missing required field `client`"),
        ("unsubscribe", {"client": "c"}, 107, "missing required field `channel`"),
        ("disconnect", {"client": "c", "disconnect": {"code": 1, "reason": "x"}}, 107, "code"),
        ("channels", {"pattern": 7}, 107, "`channels.pattern`"),
        ("batch", {"commands": []}, 107, "`batch.commands`"),
        ("batch", {"commands": [{}] * 1001}, 107, "`batch.commands`"),
        ("batch", {}, 107, "missing required field `commands`"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    stack: Urls, path: str, body: Any, code: int, problem: str
) -> None:
    status, answer = call(stack, f"/{path}", body)

    assert (status, answer["error"]["code"]) == (200, code)
    assert problem in answer["error"]["message"]


def test_errors_are_http_statuses_where_the_caller_asks_for_them(stack: Urls) -> None:
    headers = {**KEY, "X-Centrifugo-Error-Mode": "transport"}

    assert call(stack, "/publish", {"channel": "nowhere:a", "data": 1}, headers)[0] == 404
    assert call(stack, "/publish", {"channel": "a"}, headers)[0] == 400
    assert call(stack, "/publish", {"channel": "a", "data": 1}, headers)[0] == 200


def test_json_in_base64_is_published(stack: Urls) -> None:
    body = {"channel": "a", "b64data": base64.b64encode(b'{"n": 1}').decode()}

    assert call(stack, "/publish", body) == (200, {"result": {}})


def test_a_broadcast_answers_for_each_channel(stack: Urls) -> None:
    _, answer = call(stack, "/broadcast", {"channels": ["a", "nowhere:b"], "data": 1})

    good, bad = answer["result"]["responses"]
    assert good == {"result": {}}
    assert bad["error"]["code"] == 102


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch_answers_for_each_command(stack: Urls, *, parallel: bool) -> None:
    commands = [
        {"publish": {"channel": "a", "data": 1}},
        {"publish": {"channel": "a"}},
        {"zap": {}},
        {"publish": {}, "info": {}},
        {"info": {}},
    ]
    _, answer = call(stack, "/batch", {"commands": commands, "parallel": parallel})

    replies = answer["replies"]
    assert replies[0] == {"publish": {}}
    assert [reply["error"]["code"] for reply in replies[1:4]] == [107, 104, 104]
    assert replies[4]["info"]["nodes"][0]["name"] == "carillon"


def test_a_chunked_body_is_asked_for_with_its_length(stack: Urls) -> None:
    connection = http.client.HTTPConnection(urlsplit(stack.http).netloc, timeout=30)
    connection.request("POST", "/publish", iter([b"{}"]), KEY, encode_chunked=True)
    status = connection.getresponse().status
    connection.close()

    assert status == 411
