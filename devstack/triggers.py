"""What calls handlers beside HTTP and sockets: queues and schedules, as Lambda does it."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import uuid4  # noqa: TID251 an id such as EventBridge gives

from chalice.app import Chalice, Rate, ScheduledEventConfig, SNSEventConfig, SQSEventConfig

logger = logging.getLogger(__name__)

# Batches of one queue that are handled at a time; a FIFO queue hands out each group to one.
WORKERS = 4
WAIT_SECONDS = 1  # of a long poll, and so of a stop
_UNIT_SECONDS = {Rate.MINUTES: 60, Rate.HOURS: 3600, Rate.DAYS: 86400}


@contextmanager
def polling(app: Chalice, connect: Callable[[str], Any]) -> Iterator[None]:
    """Hand the messages of every queue and topic that the app listens to to its handlers.

    What was handled is deleted. A batch whose handler raised, or the part of it that the handler
    reports, comes again when its visibility times out, and goes where the queue's redrive policy
    says when it has come too often.

    Args:
        connect: Makes a client of a service.
    """
    stopped = threading.Event()
    with ExitStack() as stack:
        for source in app.event_sources:
            handler = app.handler_map.get(source.name)
            if isinstance(source, SQSEventConfig):
                url = connect("sqs").get_queue_url(QueueName=source.queue)["QueueUrl"]
                size = min(source.batch_size, 10)
                workers = [_Worker(handler, url, size, _queued) for _ in range(WORKERS)]
            elif isinstance(source, SNSEventConfig):
                url = _subscribed(connect, source.topic)
                workers = [_Worker(handler, url, 1, _notified)]
            else:
                continue
            for worker in workers:
                run = partial(worker.run, connect("sqs"), stopped)
                stack.enter_context(_thread(run, stopped, f"queue-{url.rpartition('/')[2]}"))
        yield


def _subscribed(connect: Callable[[str], Any], topic: str) -> str:
    """The URL of a queue that gets what a topic is sent: a topic itself cannot be polled."""
    sqs, sns = connect("sqs"), connect("sns")
    url: str = sqs.create_queue(QueueName=f"{topic}-notifications")["QueueUrl"]
    known = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn = sns.create_topic(Name=topic)["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=known["Attributes"]["QueueArn"])
    return url


@dataclass(frozen=True, slots=True)
class _Worker:
    handler: Any
    url: str
    batch_size: int
    event: Callable[[list[Any], str], dict[str, Any]]  # from messages and the queue's URL

    def run(self, client: Any, stopped: threading.Event) -> None:
        while not stopped.is_set():
            received = client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=self.batch_size,
                WaitTimeSeconds=WAIT_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if received.get("Messages"):
                self._handle(client, received["Messages"])

    def _handle(self, client: Any, messages: list[Any]) -> None:
        try:
            answer = self.handler(self.event(messages, self.url), None)
        except Exception:
            logger.exception("a handler failed; its batch comes again: %s", self.url)
            return
        reported = answer.get("batchItemFailures", []) if isinstance(answer, dict) else []
        failed = {each["itemIdentifier"] for each in reported}
        entries = [
            {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
            for place, message in enumerate(messages)
            if message["MessageId"] not in failed
        ]
        if entries:
            client.delete_message_batch(QueueUrl=self.url, Entries=entries)


def _queued(messages: list[Any], url: str) -> dict[str, Any]:
    return {"Records": [_record(message, url) for message in messages]}


def _notified(messages: list[Any], _url: str) -> dict[str, Any]:
    """A notification as Lambda's event has it.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
    """
    source = {"EventSource": "aws:sns", "EventVersion": "1.0"}
    return {"Records": [{**source, "Sns": json.loads(each["Body"])} for each in messages]}


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
