"""One line an event: a name, then ids, sizes, statuses and milliseconds; never a payload."""

import json
import logging
from datetime import datetime, timezone
from typing import Any

LOG = logging.getLogger("localgateway")


def line(event: str, **data: Any) -> None:
    """Log an event with its data."""
    LOG.info(event, extra={"data": data})


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
