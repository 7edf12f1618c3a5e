"""What bin/package made, deployed to MiniStack, and how tests look at it from outside."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ministack import MiniStack, until

STACK = "carillon-e2e"
API_KEY = "e2e-key-of-some-length"
DEPLOY_SECONDS = 60
# A cold start is a python process that imports boto3.
ANSWER_SECONDS = 20


def adapted(template: dict[str, Any], url: str) -> dict[str, Any]:
    """The packaged template as MiniStack takes it; what differs from AWS is said at each step."""
    resources = template["Resources"]
    # It has no AWS::ApiGatewayV2::Deployment: the stage deploys by itself.
    del resources["WebsocketAPIDeployment"]
    stage = resources["WebsocketAPIStage"]["Properties"]
    del stage["DeploymentId"]
    stage["AutoDeploy"] = True
    # It has no alarms on metric math.
    for name in [name for name, each in resources.items() if "Metrics" in each["Properties"]]:
        del resources[name]
    for each in resources.values():
        if each["Type"] == "AWS::Lambda::Function":
            # Its API Gateway has one host for all APIs.
            each["Properties"]["Environment"]["Variables"] |= {
                "WEBSOCKET_ENDPOINT": {
                    "Fn::Sub": f"{url}/_aws/execute-api/${{WebsocketAPI}}/api",
                },
                # What clients say is not what is tried here.
                "ALLOW_ANONYMOUS": "true",
                "CHANNELS": "chalicelib/channels-local.json",
            }
        if each["Type"] == "AWS::IAM::Role":
            for policy in each["Properties"]["Policies"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    # It asks for an action that does not exist: the batch needs this one too.
                    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
                    if statement["Action"] == "sqs:SendMessage":
                        statement["Action"] = ["sqs:SendMessage", "sqs:SendMessageBatch"]
    return template


@dataclass(frozen=True, slots=True)
class Deployed:
    """The stack.

    Attributes:
        outputs: The stack's outputs.
        resources: The physical name of each resource, by its name in the template.
    """

    cloud: MiniStack
    outputs: dict[str, str]
    resources: dict[str, str]

    @property
    def ws(self) -> str:
        host = self.cloud.url.removeprefix("http")
        return f"ws{host}/_aws/execute-api/{self.outputs['WebsocketAPIId']}/api"

    def post(self, method: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.cloud.url}/_aws/execute-api/{self.outputs['RestAPIId']}/api/{method}",
            json.dumps(body).encode(),
            {"X-API-Key": API_KEY, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
            return json.load(response)

    def invoke(self, function: str, event: object) -> dict[str, Any]:
        """Call a function by its name in the template; the answer of the Invoke API."""
        name = self.resources[function]
        payload = json.dumps(event).encode()
        answer: dict[str, Any] = self.cloud.client("lambda").invoke(
            FunctionName=name, Payload=payload
        )
        return answer

    def items(self, prefix: str) -> list[str]:
        """The sort keys of the items whose partition key begins so."""
        table = self.cloud.client("dynamodb").get_paginator("scan")
        pages = table.paginate(TableName=self.outputs["TableName"])
        items = [item for page in pages for item in page["Items"]]
        return [item["sk"]["S"] for item in items if item["pk"]["S"].startswith(prefix)]

    def log(self) -> list[str]:
        """Every line of the log so far."""
        pages = self.cloud.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=self.resources["Logs"])
        return [event["message"] for page in found for event in page["events"]]

    @contextmanager
    def without(self, role: str, sid: str) -> Iterator[list[str]]:
        """A role without one statement of its policy, for a while; the actions it allowed."""
        iam = self.cloud.client("iam")
        name = self.resources[role]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]

        def put(statements: list[Any]) -> None:
            changed = json.dumps({**document, "Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=changed)

        (taken,) = [each for each in document["Statement"] if each["Sid"] == sid]
        put([each for each in document["Statement"] if each["Sid"] != sid])
        try:
            yield taken["Action"] if isinstance(taken["Action"], list) else [taken["Action"]]
        finally:
            put(document["Statement"])


def deploy(cloud: MiniStack, packaged: Path) -> Deployed:
    """Create the stack from a folder that bin/package wrote."""
    storage = cloud.client("s3")
    storage.create_bucket(Bucket="code")
    code = (packaged / "deployment.zip").read_bytes()
    storage.put_object(Bucket="code", Key="deployment.zip", Body=code)
    formation = cloud.client("cloudformation")
    template = adapted(json.loads((packaged / "cfn.json").read_text()), cloud.url)
    storage.put_object(Bucket="code", Key="cfn.json", Body=json.dumps(template).encode())
    parameters = {"CodeBucket": "code", "ApiKeys": API_KEY, "TokenHmacSecret": "s" * 32}
    formation.create_stack(
        StackName=STACK,
        TemplateURL=f"{cloud.url}/code/cfn.json",  # it is too long for a body
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )

    def ended() -> Any:
        (stack,) = formation.describe_stacks(StackName=STACK)["Stacks"]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    stack = until(ended, within=DEPLOY_SECONDS, what="the stack is made")
    events = formation.describe_stack_events(StackName=STACK)["StackEvents"]
    failures = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    assert stack["StackStatus"] == "CREATE_COMPLETE", failures
    described = formation.describe_stack_resources(StackName=STACK)["StackResources"]
    return Deployed(
        cloud,
        {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]},
        {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in described},
    )
