"""docs/operations.md has every alarm and error code; docs/deploy.md every parameter."""

from pathlib import Path

from chalicelib.errors import ErrorCode
from infra.template import read

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()


def test_every_alarm_is_documented() -> None:
    resources = read()["Resources"].items()
    alarms = [name for name, each in resources if each.get("Type") == "AWS::CloudWatch::Alarm"]

    assert [name for name in alarms if f"`{name}`" not in OPERATIONS] == []


def test_every_error_code_is_documented() -> None:
    assert [code.code for code in ErrorCode if f"| {code.code} |" not in OPERATIONS] == []


def test_every_parameter_is_documented() -> None:
    assert [name for name in read()["Parameters"] if f"`{name}`" not in DEPLOY] == []
