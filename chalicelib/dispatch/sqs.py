"""A queue between publishers and drains: a FIFO doorbell a shard, answered by a worker.

The doorbell says only which shard to drain. Its group is the shard, so that one worker at a time
is at it, and other shards are not held up by one that cannot be drained.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING

from chalicelib import logs
from chalicelib.errors import CarillonError, StoreError
from chalicelib.model import Report
from chalicelib.ports import Dispatcher

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

# Messages that one SendMessageBatch may hold.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
BATCH = 10
# Of the reason that a dead letter carries: an attribute counts as part of the message.
REASON_CHARACTERS = 1000
# SQS takes no empty body.
EMPTY = "(empty)"


class SqsDispatcher:
    """A ports.Dispatcher that returns once the doorbells are in the queue."""

    def __init__(
        self,
        queue_url: str,
        *,
        new_id: Callable[[], str],
        connect: "Callable[[], SQSClient] | None" = None,
    ) -> None:
        self._queue_url = queue_url
        self._new_id = new_id
        self._connect = connect or _connect
        self._lock = Lock()
        self._made: SQSClient | None = None

    @property
    def _client(self) -> "SQSClient":
        with self._lock:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def ring(self, channel: str, shards: int) -> Report:
        for start in range(0, shards, BATCH):
            entries = [
                self._doorbell(channel, shard) for shard in range(start, min(start + BATCH, shards))
            ]
            answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            if answer.get("Failed"):
                raise StoreError(f"{len(answer['Failed'])} doorbells were not taken by the queue")
        return Report()

    def _doorbell(self, channel: str, shard: int) -> "SendMessageBatchRequestEntryTypeDef":
        return {
            "Id": str(shard),
            "MessageBody": json.dumps({"channel": channel, "shard": shard}),
            "MessageGroupId": group_of(channel, shard),
            "MessageDeduplicationId": self._new_id(),
        }


class DeadLetters:
    """The queue where lies what could not be published, each message with the reason."""

    def __init__(self, queue_url: str, connect: "Callable[[], SQSClient] | None" = None) -> None:
        self._queue_url = queue_url
        self._connect = connect or _connect

    def put(self, body: str, *, reason: str) -> None:
        """Raises: botocore's ClientError; the message comes again then."""
        attribute: MessageAttributeValueTypeDef = {
            "DataType": "String",
            "StringValue": reason[:REASON_CHARACTERS],
        }
        self._connect().send_message(
            QueueUrl=self._queue_url,
            MessageBody=body or EMPTY,
            MessageAttributes={"reason": attribute},
        )


def group_of(channel: str, shard: int) -> str:
    """The message group of a shard: short and without spaces, which channels need not be."""
    digest = blake2b(channel.encode(), digest_size=16).digest()
    return f"{urlsafe_b64encode(digest).decode().rstrip('=')}.{shard}"


class ShardHeldError(CarillonError):
    """A doorbell found its shard held: by a worker that has died, if not by the sweep.

    So it comes again, when the lease of the dead has run out.
    """


Drain = Callable[[str, int], Report | None]  # as Fanout.drain


def answer(doorbells: Iterable[str], drain: Drain) -> Report:
    """Drain each shard that was rung, once, however often it was.

    Raises: what the first drain that failed raised, after all others were tried; all doorbells
        come again then, and for the shards that were drained they find nothing to do.
    """
    total, failure = Report(), None
    for channel, shard in dict.fromkeys(map(_read, doorbells)):
        try:
            report = drain(channel, shard)
            if report is None:
                raise ShardHeldError(f"shard {shard} of {channel} is held")
            total += report
        except Exception as error:  # noqa: BLE001 the other shards come first; it is raised below
            logs.failure("drain_failed", channel=channel, shard=shard)
            failure = failure or error
    logs.info("drained", delivered=total.delivered, gone=total.gone, failed=total.failed)
    if failure:
        raise failure
    return total


def _read(doorbell: str) -> tuple[str, int]:
    body = json.loads(doorbell)
    return body["channel"], body["shard"]


def _connect() -> "SQSClient":
    import boto3  # noqa: TID251 the queue is one of boto3's places, at first use

    client: SQSClient = boto3.client("sqs")
    return client


def _conforms(dispatcher: SqsDispatcher) -> Dispatcher:
    return dispatcher
