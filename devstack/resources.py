"""What infra/resources.json declares, made through plain API calls, as every engine takes them."""

import json
from typing import TYPE_CHECKING, Any

from infra.template import STACK, declared, resolve

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# What a table has that lives for an afternoon: no backups, no key of its own, nothing against
# deleting it.
TABLE_PROPERTIES = ("BillingMode", "AttributeDefinitions", "KeySchema")


def client(service: str, endpoint: str) -> Any:
    """A client of the local AWS. boto3's default session is not for several threads at once."""
    import boto3  # noqa: TID251 the local stack plays the deployer

    return boto3.session.Session().client(service, endpoint_url=endpoint)


def create(endpoint: str, table: str, *, stack: str = STACK) -> dict[str, str]:
    """Create table, queues and topics of the template, unless they are there already.

    The table gets that name, the others begin with the stack's. What a Ref gives, by the names in
    the template: a queue's URL, a topic's ARN.
    """
    create_table(client("dynamodb", endpoint), table)
    return _create_queues(client("sqs", endpoint), stack) | _create_topics(
        client("sns", endpoint), stack
    )


def create_table(dynamodb: "DynamoDBClient", table: str) -> None:
    """Create the table of the template under that name, unless it is there already."""
    ((_, properties),) = declared("AWS::DynamoDB::Table")
    wanted: dict[str, Any] = {key: properties[key] for key in TABLE_PROPERTIES}
    try:
        dynamodb.create_table(TableName=table, **wanted)
    except dynamodb.exceptions.ResourceInUseException:
        return
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    ttl = properties["TimeToLiveSpecification"]
    dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)


def _create_queues(sqs: Any, stack: str) -> dict[str, str]:
    """Create queues in the template's order: a dead-letter queue stands before who uses it."""
    urls: dict[str, str] = {}

    def attribute(queue: str, _arn: str) -> str:
        url = urls[queue]
        known = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(known["Attributes"]["QueueArn"])

    for name, raw in declared("AWS::SQS::Queue"):
        properties = resolve(raw, {"AWS::StackName": stack}, attribute)
        queue = properties.pop("QueueName")
        attributes = {key: _text(value) for key, value in properties.items()}
        urls[name] = sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
    return urls


def _create_topics(sns: Any, stack: str) -> dict[str, str]:
    arns: dict[str, str] = {}
    for name, raw in declared("AWS::SNS::Topic"):
        topic = resolve(
            raw["TopicName"], {"AWS::StackName": stack}, lambda of, what: f"{of}.{what}"
        )
        arns[name] = sns.create_topic(Name=topic)["TopicArn"]
    return arns


def _text(value: Any) -> str:
    """A template property as SQS's API takes it."""
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
