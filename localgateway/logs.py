"""One line an event: a name, then ids, sizes, statuses and milliseconds; never a payload."""

import json
import logging
from datetime import datetime, timezone
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

LOG = logging.getLogger("localgateway")


def line(event: str, **data: Any) -> None:
    """Log an event with its data."""
    LOG.info(event, extra={"data": data})


# Not HTTP, or a body that is not what its head says, or a client that left in the middle.
_CLIENTS_FAULTS = (HttpProcessingError, RequestPayloadError, ConnectionError)


def http_logger() -> logging.Logger:
    """Give the HTTP server its logger: a client's bad request is a line, not a traceback."""
    logger = logging.getLogger("localgateway.http")
    if not logger.filters:
        logger.addFilter(_bad_request_in_a_line)
    return logger


def _bad_request_in_a_line(record: logging.LogRecord) -> bool:
    cause = record.exc_info[1] if record.exc_info else None
    if isinstance(cause, _CLIENTS_FAULTS):
        line("bad.request", error=type(cause).__name__)
        return False
    return True


class TextFormatter(logging.Formatter):
    """``12:00:01.234 post connection=… bytes=12 status=200 ms=0.4``."""

    def format(self, record: logging.LogRecord) -> str:
        """Put the time, the event's name and its data on one line, then any traceback."""
        at = datetime.fromtimestamp(record.created, tz=timezone.utc).astimezone()
        words = [f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}", f"{record.getMessage():<10}"]
        words += [f"{key}={value}" for key, value in _data(record).items()]
        return "\n".join([" ".join(words), *_traceback(self, record)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Put everything, a traceback included, into one object."""
        at = datetime.fromtimestamp(record.created, tz=timezone.utc)
        entry = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": record.getMessage(),
            **_data(record),
        }
        for text in _traceback(self, record):
            entry["traceback"] = text
        return json.dumps(entry, default=str)


def _data(record: logging.LogRecord) -> dict[str, Any]:
    data: dict[str, Any] = getattr(record, "data", {})
    return data


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    return [formatter.formatException(record.exc_info)] if record.exc_info else []
