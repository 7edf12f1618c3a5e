"""What calls handlers beside HTTP and sockets: queues and schedules, as Lambda does it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4  # noqa: TID251 an id such as EventBridge gives

from chalice.app import Chalice, Rate, ScheduledEventConfig, SQSEventConfig

logger = logging.getLogger(__name__)

# Batches of one queue that are handled at a time; a FIFO queue hands out each group to one.
WORKERS = 4
WAIT_SECONDS = 1  # of a long poll, and so of a stop
_UNIT_SECONDS = {Rate.MINUTES: 60, Rate.HOURS: 3600, Rate.DAYS: 86400}


@contextmanager
def polling(app: Chalice, connect: Callable[[], Any]) -> Iterator[None]:
    """Hand the messages of every queue that the app listens to to its handler.

    A batch that was handled is deleted. One whose handler raised comes again when its visibility
    times out, and goes where the queue's redrive policy says when it has come too often.
    """
    stopped = threading.Event()
    with ExitStack() as stack:
        for source in app.event_sources:
            if isinstance(source, SQSEventConfig):
                for _ in range(WORKERS):
                    worker = _Worker(app, source, connect(), stopped)
                    stack.enter_context(_thread(worker.run, stopped, f"queue-{source.queue}"))
        yield


class _Worker:
    def __init__(
        self, app: Chalice, source: SQSEventConfig, client: Any, stopped: threading.Event
    ) -> None:
        self._handler = app.handler_map[source.name]
        self._source = source
        self._client = client
        self._stopped = stopped
        self._url = client.get_queue_url(QueueName=source.queue)["QueueUrl"]

    def run(self) -> None:
        while not self._stopped.is_set():
            received = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(self._source.batch_size, 10),
                WaitTimeSeconds=WAIT_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if received.get("Messages"):
                self._handle(received["Messages"])

    def _handle(self, messages: list[Any]) -> None:
        try:
            self._handler({"Records": [_record(message, self._url) for message in messages]}, None)
        except Exception:
            logger.exception("handler %s failed; its batch comes again", self._source.name)
            return
        self._client.delete_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                for place, message in enumerate(messages)
            ],
        )


def _record(message: Any, url: str) -> dict[str, Any]:
    """A message as Lambda's event has it.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    name = url.rpartition("/")[2]
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": message.get("MessageAttributes", {}),
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{name}",
        "awsRegion": "us-east-1",
    }


@contextmanager
def ticking(app: Chalice) -> Iterator[None]:
    """Call the handler of every schedule of the app, as often as its rate says."""
    stopped = threading.Event()
    with ExitStack() as stack:
        for source in app.event_sources:
            if isinstance(source, ScheduledEventConfig):
                run = _ticker(app, source, stopped)
                stack.enter_context(_thread(run, stopped, f"schedule-{source.name}"))
        yield


def _ticker(
    app: Chalice, source: ScheduledEventConfig, stopped: threading.Event
) -> Callable[[], None]:
    rate = source.schedule_expression
    if not isinstance(rate, Rate):
        raise TypeError(f"schedule {source.name}: only rates are run locally, not {rate!r}")
    seconds = rate.value * _UNIT_SECONDS[rate.unit]
    handler = app.handler_map[source.name]

    def run() -> None:
        while not stopped.wait(seconds):
            try:
                handler(_tick(), None)
            except Exception:
                logger.exception("schedule %s failed", source.name)

    return run


def _tick() -> dict[str, Any]:
    """What EventBridge sends for a schedule.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
    """
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/local"],
        "detail": {},
    }


@contextmanager
def _thread(run: Callable[[], None], stopped: threading.Event, name: str) -> Iterator[None]:
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
