"""docs/operations.md has every setting, alarm and error code; docs/deploy.md every parameter."""

import re
from pathlib import Path

from chalicelib.errors import ErrorCode
from infra.template import read

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()


def test_every_setting_is_documented() -> None:
    source = (ROOT / "chalicelib" / "settings.py").read_text()
    settings = set(re.findall(r'env(?:\.get\(|, )"([A-Z_]+)"', source))

    assert {"TABLE", "PING", "LOG_LEVEL", "API_KEYS", "STAGE"} <= settings
    by_lambda = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_LAMBDA_FUNCTION_NAME"}
    assert [name for name in settings - by_lambda if f"`{name}`" not in OPERATIONS] == []


def test_every_alarm_is_documented() -> None:
    resources = read()["Resources"].items()
    alarms = [name for name, each in resources if each.get("Type") == "AWS::CloudWatch::Alarm"]

    assert [name for name in alarms if f"`{name}`" not in OPERATIONS] == []


def test_every_error_code_is_documented() -> None:
    assert [code.code for code in ErrorCode if f"| {code.code} |" not in OPERATIONS] == []


def test_every_parameter_is_documented() -> None:
    assert [name for name in read()["Parameters"] if f"`{name}`" not in DEPLOY] == []
