"""Embedded AWS: moto's server, made safe for concurrent use of DynamoDB."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.dynamodb.models.table import Table
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
    _query_partitions()
    application = _Dispatcher(create_backend_app)
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


class _Dispatcher(DomainDispatcherApplication):
    """Finds a request's service by its signature, once.

    moto 5.2.5 looks through the folders of all its services for each request, behind a lock.
    """

    def __init__(self, create_app: Any) -> None:
        super().__init__(create_app)
        self._known: dict[str, Any] = {}

    def get_application(self, environ: dict[str, Any]) -> Any:
        scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2]
        service = scope.split("/")[3] if scope.count("/") >= 4 else ""
        if service not in ("dynamodb", "sqs", "sns"):
            return super().get_application(environ)
        if service not in self._known:
            self._known[service] = super().get_application(environ)
        return self._known[service]


def _quiet(handler: type[Any]) -> type[Any]:
    """The handler without a line a request."""
    return type("Handler", (handler,), {"log": lambda *_args: None})


_query: Callable[..., Any] = Table.query


def _query_partitions() -> None:
    """Let a query look at its partition only.

    moto 5.2.5 sorts all items of the table for each query, which takes longer the more there are.
    """

    def query(table: Table, hash_key: Any, *arguments: Any, **named: Any) -> Any:
        if named.get("index_name"):
            return _query(table, hash_key, *arguments, **named)
        partition = list(table.items.get(hash_key, {}).values())
        vars(table)["all_items"] = lambda: partition  # behind the lock, for this query
        try:
            return _query(table, hash_key, *arguments, **named)
        finally:
            del vars(table)["all_items"]

    Table.query = query  # type: ignore[method-assign, assignment]


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
