"""One idempotency key is one publication, however many calls bring it at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.clients import event
from tests.e2e.conftest import Clients
from tests.support.stack import Stack

CALLS = 50


def test_fifty_calls_at_once_are_one_publication(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    socket = plain_clients()
    socket.connect(stack.ws)
    socket.call("subscribe", channel=channel)
    body = {"channel": channel, "data": "once", "idempotency_key": "key"}
    start = threading.Barrier(CALLS)

    def publish(_number: int) -> Any:
        start.wait()
        return stack.post("publish", body)

    with ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(publish, range(CALLS)))
    again = stack.post("publish", body)
    stack.post("publish", {"channel": channel, "data": "the end"})
    socket.wait_for(event("publication", data="the end"))

    # Whoever waits for two seconds in vain is told to call again: 100, temporary.
    errors = [answer["error"]["code"] for answer in answers if "error" in answer]
    results = [answer["result"] for answer in answers if "result" in answer]
    assert set(errors) <= {100}
    assert results == [again["result"]] * len(results) != []
    assert [each["offset"] for each in socket.heard(event("publication"))] == [1, 2]
    assert socket.publications(channel) == ["once", "the end"]


def test_another_body_under_the_key_is_refused(stack: Stack, channel: str) -> None:
    body = {"channel": channel, "data": "one", "idempotency_key": "key"}
    first = stack.post("publish", body)

    other = stack.post("publish", {**body, "data": "other"})

    assert other["error"]["code"] == 113
    assert stack.post("publish", body) == first
    assert stack.post("history", {"channel": channel})["result"]["offset"] == 1
