"""Log lines are readable by people and by programs."""

import json
import logging

from localgateway.logs import JsonFormatter, TextFormatter


def record(exc: BaseException | None = None) -> logging.LogRecord:
    info = None if exc is None else (type(exc), exc, exc.__traceback__)
    made = logging.LogRecord("localgateway", logging.INFO, "", 0, "post", (), info)
    made.created = 1708326702.7891
    made.data = {"connection": "X2hB7d6KoAMCLzA=", "bytes": 12, "ms": 0.4}
    return made


def test_text_is_the_time_the_event_and_its_data() -> None:
    _, event, *data = TextFormatter().format(record()).split()

    assert [event, *data] == ["post", "connection=X2hB7d6KoAMCLzA=", "bytes=12", "ms=0.4"]


def test_json_is_one_object_a_line() -> None:
    assert json.loads(JsonFormatter().format(record())) == {
        "time": "2024-02-19T07:11:42.789+00:00",
        "level": "INFO",
        "event": "post",
        "connection": "X2hB7d6KoAMCLzA=",
        "bytes": 12,
        "ms": 0.4,
    }


def test_a_traceback_comes_along() -> None:
    try:
        raise LookupError
    except LookupError as exc:
        failed = record(exc)

    assert "LookupError" in TextFormatter().format(failed)
    text = JsonFormatter().format(failed)
    assert "\n" not in text
    assert "LookupError" in json.loads(text)["traceback"]
