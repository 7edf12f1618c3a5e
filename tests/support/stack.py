"""The stack of bin/dev in this process, with its gateway at hand, so that tests can misbehave."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import environ  # noqa: TID251 it is put back as it was
from typing import Any

from chalicelib import bootstrap
from chalicelib.model import Connection
from devstack import stack as devstack
from devstack.stack import Options
from localgateway import LocalGateway
from localgateway.lambdas import Handler


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything answers.

    Attributes:
        gateway: The running gateway: drops sockets, runs other handlers.
        app: The Chalice app.
        aws: URL of the embedded AWS.
    """

    http: str
    ws: str
    api_key: str
    gateway: LocalGateway
    app: Any
    aws: str

    def post(self, method: str, body: object) -> Any:
        """Call the server API as a program without a library does; the decoded answer."""
        request = urllib.request.Request(
            f"{self.api}/{method}",
            data=json.dumps(body).encode(),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def rows(self, channel: str) -> list[str]:
        """The connections that the table has in a channel, as the app's own store reads it."""
        pages = bootstrap.deployed().store.subscriptions(channel, 0)
        return [row.connection_id for page in pages for row in page]

    def connection(self, connection_id: str) -> Connection | None:
        """What the table has of a connection."""
        return bootstrap.deployed().store.connection(connection_id)

    @property
    def api(self) -> str:
        """The base URL that server libraries expect, with the deployed path."""
        return f"{self.http}/api"

    @property
    def handlers(self) -> dict[str, Handler]:
        """What the gateway runs, by route."""
        configs = self.app.websocket_handlers.items()
        return {route: self.app.handler_map[config.name] for route, config in configs}


@contextmanager
def running() -> Iterator[Stack]:
    """Everything up on free ports."""
    with ExitStack() as stack:
        stack.enter_context(_environment_kept())
        up = stack.enter_context(devstack.running(Options(http_port=0, ws_port=0, aws_port=0)))
        yield Stack(up.http, up.ws, environ["API_KEYS"].split(",")[0], up.gateway, up.app, up.aws)


@contextmanager
def _environment_kept() -> Iterator[None]:
    before = dict(environ)
    try:
        yield
    finally:
        environ.clear()
        environ.update(before)
