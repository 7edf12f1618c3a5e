"""What bin/package refuses."""

import copy
from typing import Any

import pytest

from infra.package import PackageError, check, refuse_leftovers

STAGE: dict[str, Any] = {"lambda_functions": {"api_handler": {}, "websocket_connect": {}}}


def function(role: str, **events: Any) -> dict[str, Any]:
    properties = {"Role": {"Fn::GetAtt": [role, "Arn"]}, "Events": events}
    return {"Type": "AWS::Serverless::Function", "Properties": properties}


SAM: dict[str, Any] = {
    "Resources": {
        "APIHandler": function("ApiHandlerRole", Queue={"Type": "SQS"}),
        "WebsocketConnect": function("WebsocketConnectRole"),
        "Table": {"Type": "AWS::DynamoDB::Table"},
    }
}


def test_what_is_whole_is_let_through() -> None:
    check(SAM, STAGE)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Fanuot": {"Properties": {}}}, "changes what is not there: Fanuot"),
        ({"Sweep": function("SweepRole")}, "differ in Sweep"),
        ({"WebsocketConnect": function("ApiHandlerRole")}, "share a role"),
        (
            {"APIHandler": function("ApiHandlerRole", Queue={"Properties": {}})},
            "APIHandler has no event source Queue",
        ),
    ],
)
def test_what_a_merge_went_astray_in_is_refused(change: dict[str, Any], problem: str) -> None:
    changed = copy.deepcopy(SAM)
    changed["Resources"].update(change)

    with pytest.raises(PackageError, match=problem):
        check(changed, STAGE)


def test_dependencies_that_chalice_left_out_are_refused() -> None:
    said = "Creating deployment package.\nCould not install dependencies:\nnetifaces==0.11.0\n"

    with pytest.raises(PackageError, match=r"netifaces==0\.11\.0"):
        refuse_leftovers(said)
