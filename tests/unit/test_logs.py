"""What CloudWatch gets to read: a JSON object an event, with metrics where there are any."""

import json
import logging
from collections.abc import Iterator

import pytest

from chalicelib import logs


@pytest.fixture
def on_lambda() -> Iterator[None]:
    logger = logging.getLogger("chalicelib")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.mark.usefixtures("on_lambda")
def test_an_event_is_a_line_with_its_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_cloudwatch("carillon-Table", "INFO")

    logs.info("published", channel="orders", published=1, delivered=2, gone=0, failed=0)

    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["event"], line["channel"], line["delivered"]) == ("published", "orders", 2)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Carillon"
    assert directive["Dimensions"] == [["deployment"]]
    assert line["deployment"] == "carillon-Table"
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert names == ["published", "delivered", "gone", "failed"]
    assert all(isinstance(line[name], int) for name in names)


@pytest.mark.usefixtures("on_lambda")
def test_a_failure_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_cloudwatch("carillon-Table", "WARNING")

    logs.info("published", channel="orders")
    try:
        raise ValueError("broken")
    except ValueError:
        logs.failure("drain_failed", channel="orders", shard=0)

    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["level"], line["event"], line["shard"]) == ("ERROR", "drain_failed", 0)
    assert line["exception"].endswith("ValueError: broken")
    assert "_aws" not in line


@pytest.mark.usefixtures("on_lambda")
def test_what_another_logger_of_ours_says_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_cloudwatch("carillon-Table", "INFO")

    logging.getLogger("chalicelib.transport.management").warning("recipients_failed failed=%d", 1)

    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["event"] == "recipients_failed failed=1"
