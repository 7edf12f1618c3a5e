"""The template of resources: what it declares, and how it is read without CloudFormation."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra import template

ROOT = Path(__file__).parents[2]
TRIGGERS = "".join((ROOT / name).read_text() for name in ("app.py", "chalicelib/api/ingest.py"))


def attribute(name: str, what: str) -> str:
    return f"<{name} {what}>"


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ("as it is", "as it is"),
        ({"Ref": "Known"}, "known"),
        ({"Ref": "LogRetentionDays"}, 30),
        ({"Fn::GetAtt": ["Table", "Arn"]}, "<Table Arn>"),
        ({"Fn::Sub": "${Known}-${Table.Arn}"}, "known-<Table Arn>"),
        ([{"a": {"Ref": "Known"}}], [{"a": "known"}]),
    ],
)
def test_intrinsics_are_resolved(value: object, resolved: object) -> None:
    assert template.resolve(value, {"Known": "known"}, attribute) == resolved


@pytest.mark.parametrize("value", [{"Ref": "Nothing"}, {"Fn::If": ["A", "b", "c"]}])
def test_what_cannot_be_resolved_is_an_error(value: object) -> None:
    with pytest.raises(KeyError):
        template.resolve(value, {}, attribute)


def test_the_stack_of_chalice_deploy_has_the_names_that_app_py_says() -> None:
    names = [
        template.resolve(properties[key], {"AWS::StackName": template.STACK}, attribute)
        for kind, key in (("AWS::SQS::Queue", "QueueName"), ("AWS::SNS::Topic", "TopicName"))
        for logical, properties in template.declared(kind)
        if "DeadLetters" not in logical
    ]

    assert [name for name in names if f'"{name}"' not in TRIGGERS] == []


def test_a_fanout_message_is_invisible_for_longer_than_its_function_runs() -> None:
    queues: dict[str, Any] = dict(template.declared("AWS::SQS::Queue"))
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    timeouts = {
        config["stages"][stage]["lambda_functions"]["fanout"]["lambda_timeout"]
        for stage in ("dev", "prod")
    }

    assert timeouts == {30}
    assert queues["FanoutQueue"]["VisibilityTimeout"] == 35
    assert queues["FanoutQueue"]["RedrivePolicy"]["maxReceiveCount"] == 5
