"""bin/provision against an emulated CloudFormation."""

import boto3  # noqa: TID251 the deployer's client
import pytest

from devstack import aws
from infra.provision import provision


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")


# The emulator makes no alarms, and says so.
@pytest.mark.filterwarnings("ignore:Tried to parse AWS..CloudWatch..Alarm")
@pytest.mark.usefixtures("credentials")
def test_the_stack_is_made_once_and_kept() -> None:
    with aws.embedded(0) as url:
        formation = boto3.client("cloudformation", endpoint_url=url, region_name="eu-west-1")
        made = provision(formation)

        assert made["FanoutQueueArn"].endswith(":carillon-fanout.fifo")
        assert provision(formation) == made
