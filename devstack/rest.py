"""The HTTP API, through Chalice's own local server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ChaliceRequestHandler, create_local_server

from devstack.ports import HOST

_BACKLOG = 1024  # callers that may wait to be accepted


class Handler(ChaliceRequestHandler):
    """Chalice's request handler, fast, quiet, and at home under the deployed path as well."""

    path: str

    # Headers and body are two small writes: with Nagle's algorithm the second one waits 40 ms.
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.path == "/api" or self.path.startswith(("/api/", "/api?")):
            # Chalice deploys to the stage path /api, and its local server knows no stages.
            self.path = self.path.removeprefix("/api") or "/"
        if self.headers.get("transfer-encoding"):
            # Chalice's server would take the chunks for the next request.
            self.close_connection = True
            self.send_error(411, "Length Required", "send the body with a Content-Length")
            return False
        return True

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing: the app logs its own requests."""


@contextmanager
def serving(app: Chalice, port: int) -> Iterator[str]:
    """Serve the app's HTTP routes on a free loopback port (0: any); yields the URL."""
    local = create_local_server(app, Config(), HOST, port)
    local.server.RequestHandlerClass = _handler(app)
    local.server.socket.listen(_BACKLOG)  # again, as with its five a burst of callers is reset
    thread = threading.Thread(target=local.server.serve_forever, name="rest", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{local.server.server_address[1]}"
    finally:
        local.server.shutdown()
        local.server.server_close()
        thread.join()


def _handler(app: Chalice) -> Any:
    def handle(request: Any, client: Any, server: Any) -> Handler:
        return Handler(request, client, server, app_object=app, config=Config())

    return handle
