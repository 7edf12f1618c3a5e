"""One line an event, in JSON: its name, ids and counts; never a payload, never a token."""

import json
import logging
from typing import Any

_logger = logging.getLogger("chalicelib")  # Chalice owns the one named after the app


def info(event: str, **fields: Any) -> None:
    _say(logging.INFO, event, fields)


def warning(event: str, **fields: Any) -> None:
    _say(logging.WARNING, event, fields)


def failure(event: str, **fields: Any) -> None:
    """An error, with the traceback of the exception that is being handled."""
    _say(logging.ERROR, event, fields, traced=True)


def _say(level: int, event: str, fields: dict[str, Any], *, traced: bool = False) -> None:
    if _logger.isEnabledFor(level):
        line = json.dumps({"event": event, **fields}, default=str)
        _logger.log(level, "%s", line, exc_info=traced)
