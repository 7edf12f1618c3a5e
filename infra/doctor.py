"""`bin/doctor`: look at what is deployed, and say what is wrong and how to mend it.

Reads only. The settings are those of a deployed function (--function, or a stack's API function),
or, without either, of the environment, as for bin/dev.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import boto3  # noqa: TID251 the operator's own clients
from botocore.exceptions import BotoCoreError, ClientError  # noqa: TID251 it comes with boto3

from chalicelib.errors import ConfigError
from chalicelib.settings import Settings
from infra.template import declared

# API Gateway refuses signatures that are this many seconds off.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
SKEW_SECONDS = 300
FANOUT_SECONDS = 30

Clients = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and what mends it."""

    what: str
    mend: str


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/doctor", description=__doc__)
    parser.add_argument("--stage", default="local", help="what the deployment was packaged as")
    parser.add_argument("--stack", help="the CloudFormation stack, deployed from bin/package")
    parser.add_argument("--function", help="the name of the API function, of `chalice deploy`")
    parsed = parser.parse_args(arguments)
    clients: Clients = boto3.client
    function = parsed.function
    if parsed.stack:
        found = clients("cloudformation").describe_stack_resource(
            StackName=parsed.stack, LogicalResourceId="APIHandler"
        )
        function = found["StackResourceDetail"]["PhysicalResourceId"]
    environment = _environment(clients, function)
    findings = list(examine(environment, clients, parsed.stage))
    for finding in findings:
        sys.stdout.write(f"WRONG  {finding.what}\n  MEND {finding.mend}\n")
    if not findings:
        sys.stdout.write("all is well\n")
    return 1 if findings else 0


def _environment(clients: Clients, function: str | None) -> Mapping[str, str]:
    if not function:
        return dict(os.environ)  # noqa: TID251 the local stack's settings
    client = clients("lambda")
    config = client.get_function_configuration(FunctionName=function)
    deployed: dict[str, str] = config.get("Environment", {}).get("Variables", {})
    return {"AWS_REGION": client.meta.region_name, **deployed}


def examine(environment: Mapping[str, str], clients: Clients, stage: str) -> Iterator[Finding]:
    """Everything that is wrong."""
    try:
        settings = Settings.parse(environment)
    except ConfigError as error:
        yield Finding(str(error), f"set {error.key} as docs/operations.md says, and deploy again")
        return
    if settings.stage != stage:
        yield Finding(
            f"STAGE is {settings.stage!r}, not {stage!r}", "look at the other stage, or deploy this"
        )
    yield from _guarded("the table", _table(clients("dynamodb"), settings.table))
    if settings.fanout_queue_url:
        queue = _queue(clients("sqs"), settings.fanout_queue_url)
        yield from _guarded("the fan-out queue", queue)
    if settings.ingest_dead_letters_url:
        dead = _dead_letters(clients("sqs"), settings.ingest_dead_letters_url)
        yield from _guarded("the ingest dead letters", dead)
    yield from _endpoint(settings)
    yield from _guarded("the clock", _clock(clients("dynamodb"), datetime.now(timezone.utc)))


def _guarded(what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Findings, the last of which may be that AWS did not answer."""
    try:
        yield from findings
    except (BotoCoreError, ClientError) as error:
        yield Finding(f"{what}: {error}", "does it exist in this region, and may you look at it?")


def _table(dynamodb: Any, name: str) -> Iterator[Finding]:
    table = dynamodb.describe_table(TableName=name)["Table"]
    ((_, wanted),) = declared("AWS::DynamoDB::Table")
    deploy = "deploy infra/resources.json again"
    if sorted(table["KeySchema"], key=str) != sorted(wanted["KeySchema"], key=str):
        yield Finding(f"table {name} has other keys", f"{deploy}, which makes a new table")
    ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    attribute = wanted["TimeToLiveSpecification"]["AttributeName"]
    if ttl["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        yield Finding(f"table {name} deletes nothing that expired: TTL is off", deploy)
    elif ttl["AttributeName"] != attribute:
        yield Finding(f"table {name}: TTL is by {ttl['AttributeName']}, not {attribute}", deploy)


def _queue(sqs: Any, url: str) -> Iterator[Finding]:
    have = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    (wanted,) = [each for name, each in declared("AWS::SQS::Queue") if name == "FanoutQueue"]
    mend = "deploy infra/resources.json again"
    for key in ("FifoQueue", "DeduplicationScope", "FifoThroughputLimit"):
        expected = str(wanted[key]).lower() if isinstance(wanted[key], bool) else wanted[key]
        if have.get(key) != expected:
            yield Finding(f"queue {url}: {key} is {have.get(key)}, not {expected}", mend)
    if int(have["VisibilityTimeout"]) <= FANOUT_SECONDS:
        seconds = have["VisibilityTimeout"]
        what = f"queue {url}: messages come again after {seconds} s, while they are handled"
        yield Finding(what, mend)
    if "RedrivePolicy" not in have:
        what = f"queue {url} has no dead letters: a broken doorbell comes again for ever"
        yield Finding(what, mend)


def _dead_letters(sqs: Any, url: str) -> Iterator[Finding]:
    have = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    waiting = int(have["ApproximateNumberOfMessages"])
    if waiting:
        yield Finding(
            f"{waiting} messages came in that could not be published",
            "read their attribute `reason`; docs/operations.md, runbook",
        )


def _endpoint(settings: Settings) -> Iterator[Finding]:
    url = settings.websocket_endpoint
    if url and not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        yield Finding(
            f"WEBSOCKET_ENDPOINT is {url}", "it is the https URL of the management API, not wss"
        )
    elif ".execute-api." in url and f".{settings.region}." not in url:
        yield Finding(
            f"WEBSOCKET_ENDPOINT is not in {settings.region}: {url}", "deploy both in one region"
        )


def _clock(dynamodb: Any, now: datetime) -> Iterator[Finding]:
    answer = dynamodb.list_tables(Limit=1)["ResponseMetadata"]["HTTPHeaders"]
    if "date" in answer:
        skew = abs((parsedate_to_datetime(answer["date"]) - now).total_seconds())
        if skew > SKEW_SECONDS:
            yield Finding(f"this machine's clock is {skew:.0f} s off", "synchronise it (NTP)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
