"""What the gateway needs of a Chalice app: its handlers, and its management endpoint."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from localgateway.lambdas import Function, Handler, functions_of

AppOrHandlers = Any  # a chalice.Chalice, or Mapping[str, Handler]; chalice has no types


def functions_from(app_or_handlers: AppOrHandlers, stage: str) -> dict[str, Function]:
    """Find the functions by route key, as ``chalice deploy`` would name them.

    ``app.websocket_handlers`` serves to find names only: its ``handler_function`` is the user's
    raw function, while ``handler_map`` has what Lambda calls.
    """
    if isinstance(app_or_handlers, Mapping):
        handlers: Mapping[str, Handler] = app_or_handlers
        return functions_of(handlers)
    app = app_or_handlers
    return {
        route: Function(
            f"{app.app_name}-{stage}-websocket_{route.lstrip('$').replace('default', 'message')}",
            app.handler_map[config.name],
        )
        for route, config in app.websocket_handlers.items()
    }


@contextmanager
def pointed_at(app_or_handlers: AppOrHandlers, management_url: str) -> Iterator[None]:
    """Make ``app.websocket_api`` post to this gateway meanwhile.

    Divergence: on AWS Chalice derives the endpoint from the event's ``apiId`` and the region,
    always under amazonaws.com. Its public ``configure`` takes https only, hence the private
    attributes, of which a test checks that they are still there.
    """
    if isinstance(app_or_handlers, Mapping):
        yield
        return
    api = app_or_handlers.websocket_api
    before = api._endpoint, api._client
    api._endpoint, api._client = management_url, None
    try:
        yield
    finally:
        api._endpoint, api._client = before
