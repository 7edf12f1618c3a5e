"""SQS and SNS to a socket, on the local stack."""

import json
from typing import Any

import pytest

from devstack import resources
from tests.e2e.clients import Client, event
from tests.e2e.conftest import Clients
from tests.support.ministack import until
from tests.support.stack import Stack


@pytest.fixture
def listener(plain_clients: Clients, stack: Stack, channel: str) -> Client:
    client = plain_clients()
    client.connect(stack.ws)
    client.command("subscribe", channel=channel)
    client.wait_for(event("subscribe"))
    return client


def aws(stack: Stack, service: str) -> Any:
    return resources.client(service, stack.aws)


def queue_url(stack: Stack, name: str) -> str:
    url: str = aws(stack, "sqs").get_queue_url(QueueName=name)["QueueUrl"]
    return url


def test_a_queued_message_reaches_a_socket(stack: Stack, listener: Client, channel: str) -> None:
    body = json.dumps({"channel": channel, "data": {"from": "sqs"}})
    aws(stack, "sqs").send_message(QueueUrl=queue_url(stack, "carillon-ingest"), MessageBody=body)

    assert listener.wait_for(event("publication"))["data"] == {"from": "sqs"}


def test_a_notification_without_a_subject_reaches_a_socket(
    stack: Stack, listener: Client, channel: str
) -> None:
    sns = aws(stack, "sns")
    sns.publish(
        TopicArn=sns.create_topic(Name="carillon-ingest")["TopicArn"],
        Message='{"from": "sns"}',
        MessageAttributes={"channel": {"DataType": "String", "StringValue": channel}},
    )

    assert listener.wait_for(event("publication"))["data"] == {"from": "sns"}


def test_what_can_never_be_published_lies_with_the_reason(stack: Stack, channel: str) -> None:
    sqs = aws(stack, "sqs")
    body = f"{channel} is not JSON"
    sqs.send_message(QueueUrl=queue_url(stack, "carillon-ingest"), MessageBody=body)
    dead = queue_url(stack, "carillon-ingest-dead")

    def found() -> list[Any]:
        received = sqs.receive_message(
            QueueUrl=dead, MessageAttributeNames=["All"], WaitTimeSeconds=1
        )
        return [each for each in received.get("Messages", []) if each["Body"] == body]

    (message,) = until(found, within=20, what="the message is among the dead letters")
    assert "malformed" in message["MessageAttributes"]["reason"]["StringValue"]
