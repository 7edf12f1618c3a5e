"""Which route a message takes: the route selection expression."""

import json
from collections.abc import Container

from localgateway.events import CONNECT, DEFAULT, DISCONNECT

_PREFIX = "$request.body."


def check_expression(expression: str) -> None:
    """Refuse what is not ``$request.body.field``, with nested fields allowed.

    Divergence: API Gateway also takes ``${request.body.field}`` joined with literals.

    Raises:
        ValueError: the expression has another shape.
    """
    fields = expression.removeprefix(_PREFIX).split(".")
    if not expression.startswith(_PREFIX) or not all(fields):
        raise ValueError(f"route selection {expression!r} is not {_PREFIX}<field>[.<field>…]")


def select_route(expression: str, text: str, routes: Container[str]) -> str | None:
    """Name the route of a message: the selected key, else ``$default``, else None.

    Text that is not JSON, and a selected value that is no route of its own, go to ``$default``.
    """
    key = _selected(expression, text)
    if isinstance(key, str) and key in routes and key not in (CONNECT, DISCONNECT):
        return key
    return DEFAULT if DEFAULT in routes else None


def _selected(expression: str, text: str) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for field in expression.removeprefix(_PREFIX).split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(field)
    return value
