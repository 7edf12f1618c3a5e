"""`bin/provision`: what `chalice deploy` needs to be there, from the same template as packaging.

Creates or updates a stack with table, queues, topic and their alarms; then writes a resolved policy
for each function of the stage to .chalice/provisioned/, and the names of what it made into the
stage's environment in .chalice/config.json. Run it again after the first `chalice deploy`: the
functions are then told their WebSocket API, and allowed no other.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3  # noqa: TID251 the deployer's own client
from botocore.exceptions import ClientError  # noqa: TID251 it comes with boto3

from infra.template import STACK, VARIABLE, read, resolve

ROOT = Path(__file__).parent.parent
# Which output of the stack each setting is.
SETTINGS = {
    "TABLE": "TableName",
    "FANOUT_QUEUE_URL": "FanoutQueueUrl",
    "INGEST_DEAD_LETTERS_URL": "IngestDeadLettersUrl",
}
NO_CHANGE = "No updates are to be performed"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/provision", description=__doc__)
    parser.add_argument("--stage", required=True, help="a stage of .chalice/config.json")
    parser.add_argument("--project", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    outputs = provision(boto3.client("cloudformation"))
    written = configure(parsed.project / ".chalice", parsed.stage, outputs)
    for name, value in sorted(written.items()):
        sys.stdout.write(f"{name}={value}\n")
    missing = [key for key in ("API_KEYS",) if not written.get(key)]
    for key in missing:
        sys.stdout.write(f"{key} is missing: add it to the stage in .chalice/config.json\n")
    return 0


# -- The stack ------------------------------------------------------------------------------------


def foundation() -> dict[str, Any]:
    """The template without what needs functions or APIs: those are Chalice's to make."""
    template = read()
    resources = {name: each for name, each in template["Resources"].items() if "Type" in each}
    parameters = template["Parameters"]
    while stray := [name for name in resources if not _stands(resources[name], resources)]:
        for name in stray:
            del resources[name]
    outputs = {name: each for name, each in template["Outputs"].items() if _stands(each, resources)}
    text = json.dumps(resources)
    conditions = {
        name: each for name, each in template["Conditions"].items() if f'"{name}"' in text
    }
    named = set(_references([resources, conditions]))
    return {
        "Description": template["Description"],
        "Parameters": {name: each for name, each in parameters.items() if name in named},
        "Conditions": conditions,
        "Resources": resources,
        "Outputs": outputs,
    }


def _stands(value: Any, resources: dict[str, Any]) -> bool:
    """Whether a value refers only to these resources, parameters and pseudo-parameters."""
    known = {*resources, *read()["Parameters"]}
    return all(name in known or name.startswith("AWS::") for name in _references(value))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "Ref":
                yield each
            elif key == "Fn::GetAtt":
                yield each[0]
            elif key == "Fn::Sub":
                yield from (found.split(".")[0] for found in VARIABLE.findall(each))
            else:
                yield from _references(each)


def provision(formation: Any) -> dict[str, str]:
    """Create the stack, or bring it up to date; its outputs, and its ARN as ``StackId``."""
    body = json.dumps(foundation(), separators=(",", ":"))
    try:
        formation.create_stack(StackName=STACK, TemplateBody=body)
        formation.get_waiter("stack_create_complete").wait(StackName=STACK)
    except formation.exceptions.AlreadyExistsException:
        _update(formation, body)
    (stack,) = formation.describe_stacks(StackName=STACK)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    return {**outputs, "StackId": stack["StackId"]}


def _update(formation: Any, body: str) -> None:
    try:
        formation.update_stack(StackName=STACK, TemplateBody=body)
    except ClientError as error:
        if NO_CHANGE in str(error):
            return
        raise
    formation.get_waiter("stack_update_complete").wait(StackName=STACK)


# -- What Chalice is told -------------------------------------------------------------------------


def configure(folder: Path, stage: str, outputs: dict[str, str]) -> dict[str, str]:
    """Write policies and settings of a stage; its whole environment."""
    config = json.loads((folder / "config.json").read_text())
    api = _websocket_api(folder / "deployed" / f"{stage}.json")
    for function in config["stages"][stage]["lambda_functions"]:
        policy = _resolved(folder, config, stage, function, outputs, api)
        path = folder / config["stages"][stage]["lambda_functions"][function]["iam_policy_file"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(policy, indent=2) + "\n")
    environment: dict[str, str] = config["stages"][stage]["environment_variables"]
    environment |= {key: outputs[output] for key, output in SETTINGS.items()}
    if api:
        environment["WEBSOCKET_ENDPOINT"] = api["endpoint"]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return environment


def _websocket_api(deployed: Path) -> dict[str, str]:
    """Id and management endpoint of what was deployed; empty before the first time."""
    if not deployed.exists():
        return {}
    resources = json.loads(deployed.read_text())["resources"]
    (api,) = [each for each in resources if each["resource_type"] == "websocket_api"]
    endpoint = api["websocket_api_url"].replace("wss://", "https://").rstrip("/")
    return {"id": api["websocket_api_id"], "endpoint": endpoint}


def _resolved(
    folder: Path,
    config: dict[str, Any],
    stage: str,
    function: str,
    outputs: dict[str, str],
    api: dict[str, str],
) -> Any:
    """The packaged stage's policy of a function, with what the stack is called now."""
    _, partition, _, region, account, _ = outputs["StackId"].split(":", 5)
    name = f"{config['app_name']}-{stage}"
    if function != "api_handler":  # which Chalice names after the app alone
        name += f"-{function}"
    arns = {
        "Logs": f"arn:{partition}:logs:{region}:{account}:log-group:/aws/lambda/{name}:*",
        "Table": outputs["TableArn"],
    }

    def attribute(resource: str, what: str) -> str:
        return arns.get(resource) or outputs[f"{resource}{what}"]

    known = {
        "AWS::Partition": partition,
        "AWS::Region": region,
        "AWS::AccountId": account,
        "WebsocketAPI": api.get("id", "*"),
    }
    source = config["stages"]["prod"]["lambda_functions"][function]["iam_policy_file"]
    policy = resolve(json.loads((folder / source).read_text()), known, attribute)
    if not api:  # it is learnt from the table then
        policy["Statement"].append(
            {
                "Sid": "Endpoint",
                "Effect": "Allow",
                "Action": ["dynamodb:GetItem", "dynamodb:PutItem"],
                "Resource": outputs["TableArn"],
            }
        )
    return policy


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
