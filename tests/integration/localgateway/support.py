"""What the gateway's socket tests share: a recording app, a management client, polling."""

import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import boto3  # noqa: TID251 - the management client that is not ours
from botocore.config import Config  # noqa: TID251 - likewise

from localgateway.events import Event
from localgateway.lambdas import Handler

DEADLINE = 20.0  # how long a test waits for what must come


def until(condition: Callable[[], bool], within: float = DEADLINE) -> None:
    """Wait for a condition."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s"
        threading.Event().wait(0.002)


class Recorder:
    """An app that keeps its events, by route, and does what it is told with them.

    ``on`` maps a route to what runs after the event is kept; without one the answer is 200.
    """

    def __init__(self, **on: Callable[[Event], Any]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._on = on

    def handlers(self) -> dict[str, Handler]:
        """Give the three handlers of a Chalice app, as plain handlers."""
        return {f"${name}": self._handler(name) for name in ("connect", "default", "disconnect")}

    def _handler(self, name: str) -> Handler:
        def handle(event: Event, context: object) -> Any:
            self.events.put(json.loads(json.dumps(event)))
            return self._on[name](event) if name in self._on else {"statusCode": 200}

        return handle

    def next(self, route: str) -> Event:
        """Wait for the next event, which must be of this route."""
        event = self.events.get(timeout=DEADLINE)
        assert event["requestContext"]["routeKey"] == route
        return event


def management(url: str, *, attempts: int = 1, verify: str | None = None) -> Any:
    """Make boto3's client of a management API."""
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        verify=verify,
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
    )


def connection_of(event: Event) -> str:
    """Name the connection of an event."""
    connection_id: str = event["requestContext"]["connectionId"]
    return connection_id
