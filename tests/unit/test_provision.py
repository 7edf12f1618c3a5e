"""What bin/provision makes of the template and of the policies."""

import json
import shutil
from pathlib import Path

from infra.provision import configure, foundation

ROOT = Path(__file__).parents[2]
ARN = "arn:aws:{}:eu-west-1:123456789012:{}"
OUTPUTS = {
    "StackId": ARN.format("cloudformation", "stack/carillon/1"),
    "TableName": "carillon-Table",
    "TableArn": ARN.format("dynamodb", "table/carillon-Table"),
    "FanoutQueueUrl": "https://sqs/fanout",
    "FanoutQueueArn": ARN.format("sqs", "carillon-fanout.fifo"),
    "IngestQueueArn": ARN.format("sqs", "carillon-ingest"),
    "IngestDeadLettersUrl": "https://sqs/dead",
    "IngestDeadLettersArn": ARN.format("sqs", "carillon-ingest-dead"),
}
DEPLOYED = {
    "resources": [
        {"resource_type": "lambda_function"},
        {
            "resource_type": "websocket_api",
            "websocket_api_id": "abc",
            "websocket_api_url": "wss://abc.execute-api.eu-west-1.amazonaws.com/api/",
        },
    ]
}


def project(folder: Path, *, deployed: bool) -> Path:
    target = folder / ".chalice"
    shutil.copytree(ROOT / ".chalice", target, ignore=shutil.ignore_patterns("deploy*"))
    if deployed:
        (target / "deployed").mkdir()
        (target / "deployed" / "dev.json").write_text(json.dumps(DEPLOYED))
    return target


def test_the_foundation_has_what_needs_no_function() -> None:
    template = foundation()

    assert {"Table", "FanoutQueue", "IngestTopic", "FanoutDelayAlarm"} <= set(template["Resources"])
    assert not {"RestAPI", "Fanout", "ErrorsAlarm", "Dashboard"} & set(template["Resources"])
    assert set(OUTPUTS) - {"StackId"} <= set(template["Outputs"])
    assert "ApiKeys" not in template["Parameters"]


def test_before_the_first_deploy_the_api_is_not_known(tmp_path: Path) -> None:
    folder = project(tmp_path, deployed=False)

    environment = configure(folder, "dev", OUTPUTS)

    assert environment["TABLE"] == "carillon-Table"
    assert "WEBSOCKET_ENDPOINT" not in environment
    policy = (folder / "provisioned" / "policy-fanout.json").read_text()
    assert ARN.format("execute-api", "*/api/POST/@connections/*") in policy
    assert '"Endpoint"' in policy


def test_afterwards_functions_may_use_their_own_api_and_no_other(tmp_path: Path) -> None:
    folder = project(tmp_path, deployed=True)

    environment = configure(folder, "dev", OUTPUTS)

    assert (
        environment["WEBSOCKET_ENDPOINT"] == "https://abc.execute-api.eu-west-1.amazonaws.com/api"
    )
    policies = list((folder / "provisioned").iterdir())
    config = json.loads((folder / "config.json").read_text())
    assert len(policies) == len(config["stages"]["dev"]["lambda_functions"])
    for path in policies:
        text = path.read_text()
        assert "Fn::" not in text
        assert '"Endpoint"' not in text
        name = f"carillon-dev-{path.stem[7:]}".removesuffix("-api_handler")
        logs = ARN.format("logs", f"log-group:/aws/lambda/{name}:*")
        assert logs in text
        assert "*" not in text.replace(logs, "").replace("/@connections/*", "")


def test_provisioning_again_changes_nothing(tmp_path: Path) -> None:
    folder = project(tmp_path, deployed=True)
    configure(folder, "dev", OUTPUTS)
    before = (folder / "config.json").read_text()

    configure(folder, "dev", OUTPUTS)

    assert (folder / "config.json").read_text() == before
