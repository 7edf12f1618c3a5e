"""What infra/resources.json declares, made through plain API calls, as every engine takes them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEMPLATE = Path(__file__).parent.parent / "infra" / "resources.json"


def create(endpoint: str, table: str) -> None:
    """Create everything in the template, the table under that name, unless it is there already."""
    import boto3  # noqa: TID251 the local stack plays the deployer

    create_table(boto3.client("dynamodb", endpoint_url=endpoint), table)


def create_table(client: "DynamoDBClient", table: str) -> None:
    """Create the table of the template under that name, unless it is there already."""
    properties = _resources("AWS::DynamoDB::Table")[0]
    ttl = properties.pop("TimeToLiveSpecification")
    try:
        client.create_table(TableName=table, **properties)
    except client.exceptions.ResourceInUseException:
        return
    client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    client.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)


def _resources(kind: str) -> list[dict[str, Any]]:
    resources = json.loads(TEMPLATE.read_text())["Resources"].values()
    return [dict(resource["Properties"]) for resource in resources if resource["Type"] == kind]
