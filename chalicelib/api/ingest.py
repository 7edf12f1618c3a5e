"""Publications that come in from AWS: an SQS queue, an SNS topic, EventBridge.

A message is a publish of our own (``{"channel": …, "data": …}``), a CloudEvent 1.0 in JSON, or any
JSON, which is then the data as it is. Its channel is, in this order: what it says itself, its
attribute ``channel``, what INGEST_CHANNELS has under its type, source, or where it came in.

A message that can never be published is put away with the reason; any other failure raises, so
that it comes again. What comes twice within five minutes is published once: by the CloudEvent's
source and id, its own idempotency key, or the id that AWS gave it.
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec
from chalice.app import (
    Blueprint,
    CloudWatchEvent,
    EventSourceHandler,
    SNSEvent,
    SQSEvent,
    SQSRecord,
)

from chalicelib import bootstrap, logs
from chalicelib.api.server import Payload
from chalicelib.errors import ClientError, ErrorCode
from chalicelib.notifier import Extras, Notifier

blueprint = Blueprint(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """What came in, whatever brought it.

    Attributes:
        id: What AWS calls it.
        channel: Its attribute of that name, or empty.
        names: What INGEST_CHANNELS may know it by: its type, source, queue or topic.
    """

    id: str
    body: bytes
    channel: str = ""
    names: tuple[str, ...] = ()


class Order(Payload, frozen=True, kw_only=True):
    """A publish of our own; the channel may come from outside."""

    channel: str = ""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md"""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    data: msgspec.Raw = msgspec.Raw()  # empty: not given
    data_base64: str | None = None
    channel: str = ""  # an extension attribute

    def json(self) -> msgspec.Raw:
        """The data; null when there is none, which the specification allows."""
        if self.data_base64 is None:
            return self.data if bytes(self.data) else msgspec.Raw(b"null")
        decoded = base64.b64decode(self.data_base64, validate=True)
        msgspec.json.decode(decoded)
        return msgspec.Raw(decoded)


def publish(message: Message, notifier: Notifier, routes: Mapping[str, str]) -> None:
    """Raises: ClientError, one that is not temporary when the message can never be published."""
    try:
        fields = msgspec.json.decode(message.body)
        if isinstance(fields, dict) and "specversion" in fields:
            event = msgspec.json.decode(message.body, type=CloudEvent)
            names = (event.type, event.source, *message.names)
            channel = _channel(event.channel or message.channel, names, routes)
            key = _digest(event.source, event.id)
            notifier.publish(channel, event.json(), Extras(idempotency_key=key))
        elif isinstance(fields, dict) and "channel" in fields:
            order = msgspec.json.decode(message.body, type=Order)
            channel = _channel(order.channel or message.channel, message.names, routes)
            order = msgspec.structs.replace(
                order, idempotency_key=order.idempotency_key or _digest(message.id)
            )
            order.publish(notifier, channel)
        else:
            channel = _channel(message.channel, message.names, routes)
            key = _digest(message.id)
            notifier.publish(channel, msgspec.Raw(message.body), Extras(idempotency_key=key))
    except ValueError as error:  # msgspec's and base64's errors are
        raise ClientError(ErrorCode.BAD_REQUEST, f"the message: {error}") from error


def _channel(given: str, names: tuple[str, ...], routes: Mapping[str, str]) -> str:
    channel = given or next((routes[name] for name in names if name in routes), "")
    if not channel:
        tried = ", ".join(filter(None, names))
        detail = f"no channel: neither said, nor an attribute, nor in INGEST_CHANNELS for {tried}"
        raise ClientError(ErrorCode.BAD_REQUEST, detail)
    return channel


def _digest(*parts: str) -> str:
    """An idempotency key, whatever the length of what it is made of."""
    return "in:" + blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def take(message: Message) -> None:
    """Publish a message, or put it away if that can never succeed. Raises if it may, later."""
    app = bootstrap.deployed()
    try:
        publish(message, app.notifier, app.settings.ingest_channels)
    except ClientError as error:
        if error.reason.temporary:
            raise
        logs.warning("ingest_refused", message=message.id, reason=error.message)
        if app.dead_letters is None:
            raise
        app.dead_letters.put(message.body.decode(errors="replace"), reason=error.message)


def take_all(
    messages: Iterable[Message], take: Callable[[Message], None], *, reports: bool
) -> dict[str, list[dict[str, str]]]:
    """Take each message of a batch; those that failed, as Lambda wants to be told.

    Raises: RuntimeError if some failed and nobody listens to reports. All come again then; the
        idempotency keys keep the others from being published twice.
    """
    failed = []
    for message in messages:
        try:
            take(message)
        except Exception:  # noqa: BLE001 the others come first; it is reported or raised below
            logs.failure("ingest_failed", message=message.id)
            failed.append(message.id)
    if failed and not reports:
        raise RuntimeError(f"{len(failed)} messages failed; the batch comes again")
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


# -- Triggers -------------------------------------------------------------------------------------


@blueprint.on_sqs_message(queue="carillon-ingest", batch_size=10)
def ingest_message(event: SQSEvent) -> dict[str, list[dict[str, str]]]:
    """Publish a batch of messages."""
    reports = bootstrap.settings().ingest_reports_failures
    return take_all(map(_queued, event), take, reports=reports)


def _queued(record: SQSRecord) -> Message:
    raw = record.to_dict()
    channel = raw.get("messageAttributes", {}).get("channel", {})
    queue = raw["eventSourceARN"].rpartition(":")[2]
    text = channel.get("stringValue") or channel.get("StringValue") or ""
    return Message(raw["messageId"], record.body.encode(), text, (queue,))


class Notification(SNSEvent):
    """Chalice's event, but a Subject, which is optional, may be missing."""

    def _extract_attributes(self, event_dict: dict[str, Any]) -> None:
        event_dict["Records"][0]["Sns"].setdefault("Subject", None)
        super()._extract_attributes(event_dict)


@blueprint.on_sns_message(topic="carillon-ingest")
def ingest_notification(event: SNSEvent) -> None:
    """Publish what a topic was sent."""
    notified = event.to_dict()["Records"][0]["Sns"]
    channel = notified.get("MessageAttributes", {}).get("channel", {}).get("Value", "")
    topic = notified["TopicArn"].rpartition(":")[2]
    take(Message(notified["MessageId"], event.message.encode(), channel, (topic,)))


cast(EventSourceHandler, ingest_notification).event_class = Notification


# What applications put on the default bus for us; add other patterns as you need them.
@blueprint.on_cw_event({"source": ["carillon.publish"]})
def ingest_event(event: CloudWatchEvent) -> None:
    """Publish the detail of an event."""
    names = (event.detail_type, event.source)
    take(Message(event.event_id, msgspec.json.encode(event.detail), "", names))
