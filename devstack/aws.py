"""Embedded AWS: moto's server, made safe for concurrent use of DynamoDB."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from devstack.ports import HOST


@contextmanager
def embedded(port: int) -> Iterator[str]:
    """Serve DynamoDB, SQS and SNS, empty, on a free loopback port (0: any); yields the URL."""
    _serialize_dynamodb()
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        HOST, port, application, threaded=True, request_handler=_quiet(MotoRequestHandler)
    )
    thread = threading.Thread(target=server.serve_forever, name="embedded-aws", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _quiet(handler: type[Any]) -> type[Any]:
    """The handler without a line a request."""
    return type("Handler", (handler,), {"log": lambda *_args: None})


_lock = threading.RLock()
_call_action: Callable[..., Any] = DynamoHandler.call_action


def _serialize_dynamodb() -> None:
    """Let one DynamoDB request in at a time.

    moto 5.2.5 copies and restores whole tables around transactions and iterates live
    dictionaries, so concurrent requests lose acknowledged writes; behind one lock they do not.
    """

    def call_action(handler: DynamoHandler) -> Any:
        with _lock:
            return _call_action(handler)

    DynamoHandler.call_action = call_action  # type: ignore[method-assign]
