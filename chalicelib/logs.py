"""One line an event, in JSON: its name, ids and counts; never a payload, never a token."""

import json
import logging
import sys
from typing import Any

_logger = logging.getLogger("chalicelib")  # Chalice owns the one named after the app

NAMESPACE = "Carillon"
# Fields that are metrics as well, by event.
METRICS = {
    "published": ("published", "delivered", "gone", "failed"),
    "drained": ("delivered", "gone", "failed"),
    "swept": ("visited", "gone", "closed"),
}


def info(event: str, **fields: Any) -> None:
    _say(logging.INFO, event, fields)


def warning(event: str, **fields: Any) -> None:
    _say(logging.WARNING, event, fields)


def failure(event: str, **fields: Any) -> None:
    """An error, with the traceback of the exception that is being handled."""
    _say(logging.ERROR, event, fields, traced=True)


def _say(level: int, event: str, fields: dict[str, Any], *, traced: bool = False) -> None:
    if _logger.isEnabledFor(level):
        said = {"event": event, **fields}
        line = json.dumps(said, default=str)
        _logger.log(level, "%s", line, exc_info=traced, extra={"said": said})


def to_cloudwatch(deployment: str, level: str) -> None:
    """Write to standard output, so that each line is one event of CloudWatch Logs."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(CloudWatchLine(deployment))
    _logger.handlers = [handler]
    _logger.setLevel(level)
    _logger.propagate = False  # Lambda's own handler would say it again, in another format


class CloudWatchLine(logging.Formatter):
    """A JSON object a record, a traceback inside; metrics in CloudWatch's embedded format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """

    def __init__(self, deployment: str) -> None:
        super().__init__()
        self._deployment = deployment

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = getattr(record, "said", None) or {"event": record.getMessage()}
        line = {"level": record.levelname, **said}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        metrics = [name for name in METRICS.get(said["event"], ()) if name in said]
        if metrics:
            line["deployment"] = self._deployment
            line["_aws"] = {
                "Timestamp": int(record.created * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["deployment"]],
                        "Metrics": [{"Name": name, "Unit": "Count"} for name in metrics],
                    }
                ],
            }
        return json.dumps(line, default=str)
