"""Frames of one connection are handled in any order, as API Gateway hands them out."""

import json
import random
from collections.abc import Iterator
from threading import Lock
from time import sleep  # noqa: TID251 the delays are the fault that is injected
from typing import Any

import pytest

from localgateway.lambdas import Handler
from tests.e2e.clients import Client, event
from tests.e2e.conftest import Clients
from tests.support.stack import Stack

TIMES = 100
SEED = 20
# Seconds that a frame may be held up; a frame is handled in a few milliseconds.
LONGEST = 0.03


class Shuffler:
    """Runs a handler, some frames later than others; remembers in which order it began."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._lock = Lock()
        self.begun: list[tuple[int, str]] = []

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        dice = random.Random(f"{SEED} {event['body']}")
        if dice.random() < 0.5:
            sleep(dice.random() * LONGEST)
        with self._lock:
            self.begun += _commands(event["body"])
        return self._handler(event, context)

    def on(self, channel: str) -> list[tuple[int, str]]:
        """The commands on a channel, each with its id, in the order in which they were begun."""
        return [(number, name) for number, name in self.begun if name.endswith(f" {channel}")]


@pytest.fixture
def shuffler(stack: Stack) -> Iterator[Shuffler]:
    """The app's own handlers, but for delays."""
    handlers = stack.handlers
    shuffler = Shuffler(handlers["$default"])
    stack.gateway.use({**handlers, "$default": shuffler})
    yield shuffler
    stack.gateway.quiet()
    stack.gateway.use(stack.app)


@pytest.mark.parametrize("sdk", ["js", "python"])
def test_unsubscribe_and_subscribe_back_to_back_ends_subscribed_once(
    clients: Clients, stack: Stack, shuffler: Shuffler, channel: str
) -> None:
    """The client waits for nothing, so two hundred frames are under way at the same time.

    Of what is published meanwhile, some arrives, and nothing twice.
    """
    client = _subscribed(clients, stack, channel)
    since = len(client.events)

    client.command("churn", channel=channel, times=TIMES)
    for number in range(10):
        stack.post("publish", {"channel": channel, "data": f"meanwhile {number}"})

    client.wait_for_all(TIMES, event("subscribing", channel=channel), since=since)
    _wait_until_subscribed(client, channel)
    stack.gateway.quiet(timeout=30)
    assert len(shuffler.on(channel)) >= 2 * TIMES
    assert shuffler.on(channel) != sorted(shuffler.on(channel)), "nothing was out of order"
    _assert_subscribed_once(client, stack, channel)


@pytest.mark.parametrize("sdk", ["go"])
def test_unsubscribe_and_subscribe_after_each_reply_ends_subscribed_once(
    clients: Clients, stack: Stack, shuffler: Shuffler, channel: str
) -> None:
    """The Go SDK never has two subscribes of a channel under way.

    It sends no second subscribe while the first is unanswered, although it sends the unsubscribe
    between them, and takes the reply to the first one for the second's. If the server, any server,
    has answered before it handles that unsubscribe, the client then believes to be subscribed and
    is not; if it handles the unsubscribe first, the client is told 100 and subscribes again. So
    here each round waits until it is subscribed; its unsubscribe and its subscribe are still sent
    back to back, and meet each other.
    """
    client = _subscribed(clients, stack, channel)

    for _ in range(TIMES):
        before = len(client.events)
        client.command("churn", channel=channel, times=1)
        client.wait_for(event("subscribed", channel=channel), since=before)

    stack.gateway.quiet(timeout=30)
    assert len(shuffler.on(channel)) >= 2 * TIMES
    assert shuffler.on(channel) != sorted(shuffler.on(channel)), "nothing was out of order"
    _assert_subscribed_once(client, stack, channel)


def test_a_plain_socket_that_does_the_same_ends_subscribed_once(
    plain_clients: Clients, stack: Stack, shuffler: Shuffler, channel: str
) -> None:
    """Here the order is that of arrival at the gateway; what is overtaken is answered with 100."""
    socket = plain_clients()
    socket.connect(stack.ws)
    own_id = socket.call("whoami")["data"]
    socket.call("subscribe", channel=channel)
    since = len(socket.events)

    for number in range(1000, 1000 + 2 * TIMES, 2):
        socket.command("unsubscribe", channel=channel, id=number)
        socket.command("subscribe", channel=channel, id=number + 1)

    replies = socket.wait_for_all(2 * TIMES, lambda each: each.get("id", 0) >= 1000, since=since)
    assert {each["code"] for each in replies if each["event"] == "error"} <= {100}
    assert shuffler.on(channel) != sorted(shuffler.on(channel)), "nothing was out of order"
    for number in range(3):
        stack.post("publish", {"channel": channel, "data": number})
    socket.call("ping")
    socket.wait_for_all(3, event("publication"))
    assert socket.publications(channel) == [0, 1, 2]
    assert stack.rows(channel) == [own_id]


def test_an_unsubscribe_sent_last_wins_over_all_that_went_before(
    clients: Clients, stack: Stack, shuffler: Shuffler, channel: str
) -> None:
    client = _subscribed(clients, stack, channel)

    for _ in range(TIMES // 4):
        client.command("churn", channel=channel, times=1)
    client.command("unsubscribe", channel=channel)
    client.call("rpc", method="echo", data="everything has been sent")
    stack.gateway.quiet(timeout=30)
    stack.post("publish", {"channel": channel, "data": "nobody hears this"})
    client.call("rpc", method="echo", data="whatever was pushed has arrived")

    assert client.publications(channel) == []
    assert stack.rows(channel) == []
    alive = stack.connection(_only_id(client))
    assert alive is not None
    assert channel not in alive.channels


def _subscribed(clients: Clients, stack: Stack, channel: str) -> Client:
    client = clients()
    client.connect(stack.ws)
    client.subscribe(channel)
    client.subscribe(f"{channel}-marker")
    return client


def _wait_until_subscribed(client: Client, channel: str) -> None:
    def is_subscribed() -> bool:
        ours = client.heard(lambda each: each.get("channel") == channel)
        states = [each for each in ours if "subscrib" in each["event"]]
        return event("subscribed")(states[-1])

    client.wait_until(is_subscribed)


def _assert_subscribed_once(client: Client, stack: Stack, channel: str) -> None:
    """Each publication arrives once, the table has one row, and the socket is still the same.

    Those that were published earlier may have been missed, but none arrived twice.
    """
    for number in range(3):
        stack.post("publish", {"channel": channel, "data": number})
    stack.post("publish", {"channel": f"{channel}-marker", "data": "all has been sent"})
    client.wait_for(event("publication", channel=f"{channel}-marker"))

    heard = client.publications(channel)
    assert heard[-3:] == [0, 1, 2]
    assert len(heard) == len(set(heard))
    assert stack.rows(channel) == [_only_id(client)]


def _only_id(client: Client) -> str:
    """The id of a client that has stayed connected since it first was."""
    ids = [each["client"] for each in client.heard(event("connected"))]
    assert len(ids) == 1, f"it had to connect again: {client.heard(event('connecting'))}"
    return str(ids[0])


def _commands(body: str) -> Iterator[tuple[int, str]]:
    """Id and description of each subscribe and unsubscribe in a frame of either dialect."""
    for line in filter(None, body.split("\n")):
        command = json.loads(line)
        for name in ("subscribe", "unsubscribe"):
            if command.get("action") == name:
                yield command["id"], f"{name} {command['channel']}"
            elif name in command:
                yield command["id"], f"{name} {command[name]['channel']}"
