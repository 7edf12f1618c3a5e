"""The HTTP API over real HTTP: what each route answers, above all to what is wrong."""

import base64
import http.client
import json
import socket
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from chalicelib import bootstrap
from chalicelib.apikeys import ApiKeys
from tests.support.stack import Stack

METHODS = [
    *("publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "channels", "info"),
    *("history", "history_remove", "presence", "presence_stats"),
]
KEY = {"X-API-Key": "local-key"}


def call(
    stack: Stack,
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
def test_publish_answers_under_both_paths(stack: Stack, prefix: str) -> None:
    body = {"channel": "live:a", "data": 1}

    assert call(stack, f"{prefix}/publish", body) == (200, {"result": {}})


def test_health_needs_no_key(stack: Stack) -> None:
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
def test_any_content_type_and_either_header_will_do(stack: Stack, headers: dict[str, str]) -> None:
    status, answer = call(stack, "/publish", {"channel": "live:a", "data": 1}, headers)

    assert (status, answer) == (200, {"result": {}})


@pytest.mark.parametrize("method", [*METHODS, "batch"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "wrong"}, {"Authorization": "apikey wrong"}, {"Authorization": "local-key"}],
)
def test_no_key_or_a_wrong_one_is_401(stack: Stack, method: str, headers: dict[str, str]) -> None:
    status, answer = call(stack, f"/{method}", {}, headers)

    assert (status, answer["error"]["code"]) == (401, 101)


@pytest.mark.parametrize("method", [*METHODS, "batch"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b'"a"', b"nope", b"\xff\xfe{}"])
def test_a_body_that_is_no_json_object_is_400(stack: Stack, method: str, body: bytes) -> None:
    status, answer = call(stack, f"/{method}", body)

    assert (status, answer["error"]["code"]) == (400, 107)
    assert "the body is not JSON" in answer["error"]["message"]


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
def test_a_wrong_http_method_is_405(stack: Stack, verb: str) -> None:
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
        ("subscribe", {"channel": "a"}, 107, "one of user and client is required"),
        ("unsubscribe", {"client": "c"}, 107, "missing required field `channel`"),
        ("disconnect", {"client": "c", "disconnect": {"code": 1, "reason": "x"}}, 107, "code"),
        ("channels", {"pattern": 7}, 107, "`channels.pattern`"),
        ("batch", {"commands": []}, 107, "`batch.commands`"),
        ("batch", {"commands": [{}] * 1001}, 107, "`batch.commands`"),
        ("batch", {}, 107, "missing required field `commands`"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    stack: Stack, path: str, body: Any, code: int, problem: str
) -> None:
    status, answer = call(stack, f"/{path}", body)

    assert (status, answer["error"]["code"]) == (200, code)
    assert problem in answer["error"]["message"]


def test_errors_are_http_statuses_where_the_caller_asks_for_them(stack: Stack) -> None:
    headers = {**KEY, "X-Centrifugo-Error-Mode": "transport"}

    assert call(stack, "/publish", {"channel": "nowhere:a", "data": 1}, headers)[0] == 404
    assert call(stack, "/publish", {"channel": "a"}, headers)[0] == 400
    assert call(stack, "/publish", {"channel": "a", "data": 1}, headers)[0] == 200


def test_json_in_base64_is_published(stack: Stack) -> None:
    body = {"channel": "live:a", "b64data": base64.b64encode(b'{"n": 1}').decode()}

    assert call(stack, "/publish", body) == (200, {"result": {}})


def test_a_broadcast_answers_for_each_channel(stack: Stack) -> None:
    _, answer = call(stack, "/broadcast", {"channels": ["live:a", "nowhere:b"], "data": 1})

    good, bad = answer["result"]["responses"]
    assert good == {"result": {}}
    assert bad["error"]["code"] == 102


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch_answers_for_each_command(stack: Stack, *, parallel: bool) -> None:
    commands = [
        {"publish": {"channel": "live:a", "data": 1}},
        {"publish": {"channel": "live:a"}},
        {"zap": {}},
        {"publish": {}, "info": {}},
        {"info": {}},
    ]
    _, answer = call(stack, "/batch", {"commands": commands, "parallel": parallel})

    replies = answer["replies"]
    assert replies[0] == {"publish": {}}
    assert [reply["error"]["code"] for reply in replies[1:4]] == [107, 104, 104]
    assert replies[4]["info"]["nodes"][0]["name"] == "carillon"


def test_a_kept_publication_has_a_position_and_is_read_again(stack: Stack) -> None:
    _, first = call(stack, "/publish", {"channel": "kept-1", "data": {"n": 1}, "tags": {"a": "b"}})
    _, second = call(stack, "/publish", {"channel": "kept-1", "data": 2})
    _, history = call(stack, "/history", {"channel": "kept-1", "limit": 10})

    epoch = first["result"]["epoch"]
    assert [first["result"]["offset"], second["result"]] == [1, {"offset": 2, "epoch": epoch}]
    found = history["result"]
    assert [(p["offset"], p["data"]) for p in found["publications"]] == [(1, {"n": 1}), (2, 2)]
    assert found["publications"][0]["tags"] == {"a": "b"}
    assert (found["offset"], found["epoch"]) == (2, epoch)


def test_history_can_be_paged_from_both_ends_and_removed(stack: Stack) -> None:
    for n in range(1, 6):
        _, published = call(stack, "/publish", {"channel": "kept-2", "data": n})
    epoch = published["result"]["epoch"]

    def offsets(**query: Any) -> list[int]:
        _, answer = call(stack, "/history", {"channel": "kept-2", **query})
        return [each["offset"] for each in answer["result"]["publications"]]

    assert offsets() == []
    assert offsets(limit=-1) == [1, 2, 3, 4, 5]
    assert offsets(limit=2, since={"offset": 2, "epoch": epoch}) == [3, 4]
    assert offsets(limit=2, reverse=True) == [5, 4]
    assert offsets(limit=9, reverse=True, since={"offset": 3, "epoch": epoch}) == [2, 1]
    _, foreign = call(
        stack, "/history", {"channel": "kept-2", "limit": 1, "since": {"offset": 1, "epoch": "x"}}
    )
    assert foreign["error"]["code"] == 112
    call(stack, "/history_remove", {"channel": "kept-2"})
    _, answer = call(stack, "/history", {"channel": "kept-2", "limit": -1})
    assert answer["result"] == {"publications": [], "offset": 5, "epoch": epoch}


def test_history_and_presence_are_not_available_where_they_are_not_kept(stack: Stack) -> None:
    for method in ("history", "history_remove", "presence", "presence_stats"):
        _, answer = call(stack, f"/{method}", {"channel": "live:a"})
        assert answer["error"]["code"] == 108


@pytest.fixture
def limited(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A key for chat channels only."""
    app = bootstrap.deployed()
    keys = ApiKeys.parse("local-key,limited:chat*", min_characters=1)
    limited = replace(app, settings=replace(app.settings, api_keys=keys))
    monkeypatch.setattr(bootstrap.deployed, "_app", limited)
    return {"X-API-Key": "limited"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("publish", {"channel": "other", "data": 1}),
        ("broadcast", {"channels": ["chat-1", "other"], "data": 1}),
        ("history", {"channel": "other"}),
        ("history_remove", {"channel": "other"}),
        ("presence", {"channel": "other"}),
        ("presence_stats", {"channel": "other"}),
        ("subscribe", {"client": "c", "channel": "other"}),
        ("unsubscribe", {"client": "c", "channel": "other"}),
        ("disconnect", {"client": "c"}),
        ("channels", {}),
        ("info", {}),
    ],
)
def test_a_limited_key_opens_its_channels_only(
    stack: Stack, limited: dict[str, str], path: str, body: Any
) -> None:
    _, alone = call(stack, f"/{path}", body, limited)
    _, batch = call(stack, "/batch", {"commands": [{path: body}]}, limited)

    assert alone["error"]["code"] == batch["replies"][0]["error"]["code"] == 103


def test_a_limited_key_opens_its_own_channels(stack: Stack, limited: dict[str, str]) -> None:
    body = {"channel": "chat-1", "data": 1}

    assert "result" in call(stack, "/publish", body, limited)[1]
    assert (
        "publish"
        in call(stack, "/batch", {"commands": [{"publish": body}]}, limited)[1]["replies"][0]
    )


def test_a_deeply_nested_body_is_400(stack: Stack) -> None:
    status, answer = call(stack, "/publish", "[" * 5000 + "]" * 5000)

    assert (status, answer["error"]["code"]) == (400, 107)


def test_a_chunked_body_is_asked_for_with_its_length(stack: Stack) -> None:
    address = urlsplit(stack.http)
    with socket.create_connection((address.hostname, address.port or 80), timeout=30) as raw:
        raw.sendall(b"POST /publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert raw.makefile("rb").readline().startswith(b"HTTP/1.1 411 ")
