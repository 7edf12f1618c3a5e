"""What the gateway's socket tests share: a recording app, clients that are not ours, polling."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3  # noqa: TID251 - the management client that is not ours
from botocore.config import Config  # noqa: TID251 - likewise
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from localgateway import LocalGateway
from localgateway.events import Event
from localgateway.lambdas import Handler

Start = Callable[..., LocalGateway]  # what the fixture local_gateway is

DEADLINE = 20.0  # how long a test waits for what must come
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=any"}  # any will do without credentials
NOBODY = "AAAAAAAAAAAAAAA="  # a well-formed id that no connection has
OK = {"statusCode": 200}


def until(condition: Callable[[], bool], within: float = DEADLINE) -> None:
    """Wait for a condition."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s"
        threading.Event().wait(0.002)


class Recorder:
    """An app that keeps its events, by route, and does what it is told with them.

    ``on`` maps a route, without ``$``, to what runs after the event is kept; else the answer
    is 200.
    """

    def __init__(self, **on: Callable[[Event], Any]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.contexts: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._on = on

    def handlers(self) -> dict[str, Handler]:
        """Give the three handlers of a Chalice app, as plain handlers."""
        return {f"${name}": self._handler(name) for name in ("connect", "default", "disconnect")}

    def _handler(self, name: str) -> Handler:
        def handle(event: Event, context: Any) -> Any:
            self.contexts.put(context)
            self.events.put(json.loads(json.dumps(event)))
            return self._on[name](event) if name in self._on else OK

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


class Response:
    """A plain HTTP response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def fetch(
    gateway: LocalGateway,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Make one plain HTTP request; the path is put on the wire as it is."""
    address = urlsplit(gateway.management_url).netloc
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    try:
        connection.request(method, path, body, headers or {})
        return Response(connection.getresponse())
    finally:
        connection.close()


def manage(
    gateway: LocalGateway, method: str, connection_id: str, body: bytes | None = None
) -> Response:
    """Make one management request that looks signed."""
    path = f"/api/@connections/{connection_id}"
    return fetch(gateway, method, path, body=body, headers=SIGNED)


def refusal(url: str, **options: Any) -> int:
    """Try to connect; give the status that was answered instead of 101."""
    try:
        with connect(url, open_timeout=DEADLINE, **options):
            return 101
    except InvalidStatus as exc:
        status: int = exc.response.status_code
        return status


def closed(client: ClientConnection) -> tuple[int, str]:
    """Read a client to its end; give the code and reason of the close frame it got."""
    try:
        while True:
            client.recv(timeout=DEADLINE)
    except ConnectionClosed as exc:
        return (1006, "") if exc.rcvd is None else (exc.rcvd.code, exc.rcvd.reason)


def connection_of(event: Event) -> str:
    """Name the connection of an event."""
    connection_id: str = event["requestContext"]["connectionId"]
    return connection_id
