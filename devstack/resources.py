"""What infra/resources.json declares, made through plain API calls, as every engine takes them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEMPLATE = Path(__file__).parent.parent / "infra" / "resources.json"


def client(service: str, endpoint: str) -> Any:
    """A client of the local AWS. boto3's default session is not for several threads at once."""
    import boto3  # noqa: TID251 the local stack plays the deployer

    return boto3.session.Session().client(service, endpoint_url=endpoint)


def create(endpoint: str, table: str) -> dict[str, str]:
    """Create everything in the template that is not there yet, the table under that name.

    The URLs of the queues, by their names in the template.
    """
    create_table(client("dynamodb", endpoint), table)
    return _create_queues(client("sqs", endpoint))


def create_table(dynamodb: "DynamoDBClient", table: str) -> None:
    """Create the table of the template under that name, unless it is there already."""
    ((_, properties),) = _named("AWS::DynamoDB::Table")
    ttl = properties.pop("TimeToLiveSpecification")
    try:
        dynamodb.create_table(TableName=table, **properties)
    except dynamodb.exceptions.ResourceInUseException:
        return
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)


def _create_queues(sqs: Any) -> dict[str, str]:
    """Create queues in the template's order: a dead-letter queue stands before who uses it."""
    urls: dict[str, str] = {}
    arns: dict[str, str] = {}
    for name, properties in _named("AWS::SQS::Queue"):
        queue = properties.pop("QueueName")
        attributes = {key: _attribute(value, arns) for key, value in properties.items()}
        urls[name] = sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
        known = sqs.get_queue_attributes(QueueUrl=urls[name], AttributeNames=["QueueArn"])
        arns[name] = known["Attributes"]["QueueArn"]
    return urls


def _attribute(value: Any, arns: dict[str, str]) -> str:
    """A template property as SQS's API takes it: text, with references resolved."""
    if isinstance(value, dict):
        resolved = {
            key: arns[each["Fn::GetAtt"][0]] if isinstance(each, dict) else each
            for key, each in value.items()
        }
        return json.dumps(resolved)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(kind: str) -> list[tuple[str, dict[str, Any]]]:
    resources = json.loads(TEMPLATE.read_text())["Resources"].items()
    return [(name, dict(each["Properties"])) for name, each in resources if each["Type"] == kind]
