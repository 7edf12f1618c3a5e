"""The packaged artefact on MiniStack, each function under its own policy, and nothing more."""

import json
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import environ  # noqa: TID251 a flag of the test run, not of the app
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support import ministack
from tests.support.deployed import ANSWER_SECONDS, Deployed, deploy
from tests.support.ministack import UnavailableError, until

ROOT = Path(__file__).parents[2]
ARCHITECTURE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack prod, packaged for this machine and created once."""
    folder = tmp_path_factory.mktemp("deployed")
    out = folder / "out"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        ministack.install()
    except UnavailableError as error:
        if environ.get("CARILLON_SKIP_NOTHING") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    package = str(ROOT / "bin" / "package")
    stage = ["--stage", "prod", "--arch", ARCHITECTURE]
    subprocess.run([package, *stage, "--out", str(out)], check=True)
    with ministack.running(port, folder) as cloud:
        yield deploy(cloud, out)


@contextmanager
def opened(deployed: Deployed) -> Iterator[ClientConnection]:
    with connect(deployed.ws, proxy=None, open_timeout=ANSWER_SECONDS) as client:
        yield client


def say(client: ClientConnection, action: str, **fields: object) -> None:
    client.send(json.dumps({"action": action, **fields}))


def hear(client: ClientConnection, event: str) -> dict[str, Any]:
    """The next frame, which is to be of that kind."""
    frame: dict[str, Any] = json.loads(client.recv(timeout=ANSWER_SECONDS))
    assert frame["event"] == event, frame
    return frame


@contextmanager
def subscribed(deployed: Deployed, channel: str, **fields: object) -> Iterator[ClientConnection]:
    with opened(deployed) as client:
        say(client, "subscribe", channel=channel, id=1, **fields)
        hear(client, "subscribe")
        yield client


def test_a_post_reaches_a_subscriber_through_the_queue(deployed: Deployed) -> None:
    with subscribed(deployed, "posted") as client:
        answer = deployed.post("publish", {"channel": "posted", "data": {"n": 1}})

        pushed = hear(client, "publication")
    assert answer["result"]["offset"] == pushed["offset"] == 1
    assert pushed["data"] == {"n": 1}


def test_a_post_without_history_is_sent_by_the_request_itself(deployed: Deployed) -> None:
    with subscribed(deployed, "live:posted") as client:
        deployed.post("publish", {"channel": "live:posted", "data": "now"})

        assert hear(client, "publication")["data"] == "now"


def test_a_client_that_comes_back_gets_what_it_missed(deployed: Deployed) -> None:
    with opened(deployed) as client:
        say(client, "subscribe", channel="missed", id=1)
        epoch = hear(client, "subscribe")["epoch"]
    for n in (1, 2, 3):
        deployed.post("publish", {"channel": "missed", "data": n})

    with opened(deployed) as client:
        say(client, "subscribe", channel="missed", id=1, recover=True, offset=0, epoch=epoch)
        recovered = hear(client, "subscribe")

    assert recovered["recovered"]
    assert [each["data"] for each in recovered["publications"]] == [1, 2, 3]


def test_a_closed_socket_leaves_nothing_behind(deployed: Deployed) -> None:
    with subscribed(deployed, "left"):
        (connection,) = deployed.items("chan#left#")
        assert connection in deployed.items("conn#")

    until(
        lambda: connection not in [*deployed.items("chan#left#"), *deployed.items("conn#")],
        within=ANSWER_SECONDS,
        what="the rows of a closed socket are gone",
    )


def test_what_comes_in_from_aws_reaches_a_subscriber(deployed: Deployed) -> None:
    with subscribed(deployed, "ingested") as client:
        enqueue(deployed, {"channel": "ingested", "data": "sqs"})
        assert hear(client, "publication")["data"] == "sqs"

        deployed.cloud.client("sns").publish(
            TopicArn=deployed.outputs["IngestTopicArn"],
            Message='"sns"',
            MessageAttributes={"channel": {"DataType": "String", "StringValue": "ingested"}},
        )
        assert hear(client, "publication")["data"] == "sns"

        put_event(deployed, {"channel": "ingested", "data": "events"})
        assert hear(client, "publication")["data"] == "events"


def test_what_can_never_be_published_lies_with_the_reason(deployed: Deployed) -> None:
    enqueue(deployed, {"channel": "nowhere:at-all", "data": 1})
    sqs = deployed.cloud.client("sqs")
    url = deployed.outputs["IngestDeadLettersUrl"]

    def dead() -> list[Any]:
        received = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])
        return [each for each in received.get("Messages", []) if "nowhere" in each["Body"]]

    (message,) = until(dead, within=ANSWER_SECONDS, what="the message is among the dead letters")
    assert "unknown channel" in message["MessageAttributes"]["reason"]["StringValue"]


def enqueue(deployed: Deployed, body: object) -> None:
    url = deployed.outputs["IngestQueueUrl"]
    deployed.cloud.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(body))


def put_event(deployed: Deployed, detail: object) -> None:
    entry = {"Source": "carillon.publish", "DetailType": "e2e", "Detail": json.dumps(detail)}
    deployed.cloud.client("events").put_events(Entries=[entry])


# -- Each statement of each policy is needed ------------------------------------------------------

Act = Callable[[Deployed, str, str], object]  # in a channel, with a connection that is in it


def connects(deployed: Deployed, _channel: str, _connection: str) -> object:
    return deployed.invoke("WebsocketConnect", socket_event("CONNECT", "new"))


def subscribes(deployed: Deployed, channel: str, connection: str) -> object:
    frame = {"action": "subscribe", "channel": f"{channel}-too"}
    return deployed.invoke("WebsocketMessage", socket_event("MESSAGE", connection, frame))


def speaks(deployed: Deployed, channel: str, connection: str) -> object:
    frame = {"action": "publish", "channel": channel, "data": 1}
    return deployed.invoke("WebsocketMessage", socket_event("MESSAGE", connection, frame))


def leaves(deployed: Deployed, _channel: str, connection: str) -> object:
    return deployed.invoke("WebsocketDisconnect", socket_event("DISCONNECT", connection))


def posts(deployed: Deployed, channel: str, _connection: str) -> object:
    return deployed.post("publish", {"channel": channel, "data": 1})


def posts_without_history(deployed: Deployed, channel: str, _connection: str) -> object:
    return deployed.post("publish", {"channel": channel, "data": 1, "skip_history": True})


def sweeps(deployed: Deployed, _channel: str, _connection: str) -> object:
    return [deployed.invoke("Sweep", SCHEDULED) for _ in range(4)]  # a share of the sockets each


def came_in(function: str, *, data: object = 1, skip_history: bool = False) -> Act:
    """A publish in the event that a function of ingest is called with."""

    def act(deployed: Deployed, channel: str, _connection: str) -> object:
        body = {"channel": channel, "data": data, "skip_history": skip_history}
        return deployed.invoke(function, INGESTED[function](body, channel))

    return act


def came_in_wrong(function: str) -> Act:
    def act(deployed: Deployed, channel: str, _connection: str) -> object:
        return deployed.invoke(function, INGESTED[function]({"channel": channel}, channel))

    return act


def queued(body: object, id_: str) -> dict[str, Any]:
    record = {"messageId": id_, "receiptHandle": "r", "body": json.dumps(body)}
    return {"Records": [{**record, "eventSourceARN": "arn:aws:sqs:us-east-1:1:carillon-ingest"}]}


def notified(body: object, id_: str) -> dict[str, Any]:
    topic = "arn:aws:sns:us-east-1:1:carillon-ingest"
    notification = {"MessageId": id_, "TopicArn": topic, "Message": json.dumps(body)}
    return {"Records": [{"Sns": {**notification, "MessageAttributes": {}}}]}


def happened(body: object, id_: str) -> dict[str, Any]:
    return {**SCHEDULED, "id": id_, "source": "carillon.publish", "detail": body}


INGESTED: dict[str, Callable[[object, str], dict[str, Any]]] = {
    "IngestMessage": queued,
    "IngestNotification": notified,
    "IngestEvent": happened,
}


def socket_event(kind: str, connection: str, frame: object = None) -> dict[str, Any]:
    """What API Gateway hands to a function, as far as the app reads it.

    Invoked directly, since MiniStack keeps no log of what its WebSocket API invokes.
    """
    context = {
        "eventType": kind,
        "connectionId": connection,
        "apiId": "api",
        "domainName": "api.execute-api.us-east-1.amazonaws.com",
        "stage": "api",
        "connectedAt": 1_800_000_000_000,
        "requestTimeEpoch": 1_800_000_000_000,
    }
    return {"requestContext": context, "body": json.dumps(frame)}


SCHEDULED = {
    "version": "0",
    "id": "e2e",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": ministack.ACCOUNT,
    "time": "2030-01-01T00:00:00Z",
    "region": ministack.REGION,
    "resources": [],
    "detail": {},
}

NEEDED: list[tuple[str, str, Act]] = [
    ("ApiHandlerRole", "Table", posts),
    ("ApiHandlerRole", "Sockets", posts_without_history),
    ("ApiHandlerRole", "Doorbells", posts),
    ("WebsocketConnectRole", "Table", connects),
    ("WebsocketMessageRole", "Table", subscribes),
    ("WebsocketMessageRole", "Sockets", subscribes),
    ("WebsocketMessageRole", "Doorbells", speaks),
    ("WebsocketDisconnectRole", "Table", leaves),
    ("WebsocketDisconnectRole", "Sockets", leaves),
    ("FanoutRole", "Table", posts),
    ("FanoutRole", "Sockets", posts),
    ("SweepRole", "Table", sweeps),
    ("SweepRole", "Sockets", sweeps),
    *(
        (f"{function}Role", sid, act)
        for function in INGESTED
        for sid, act in (
            ("Table", came_in(function)),
            ("Sockets", came_in(function, skip_history=True)),
            ("Doorbells", came_in(function)),
            ("DeadLetters", came_in_wrong(function)),
        )
    ),
]
# What MiniStack lets through whatever the policy says.
NOT_ENFORCED = {
    # It writes logs itself. https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    "Logs",
    # It polls queues itself. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    "Trigger",
}


def test_every_statement_is_tried_without_or_listed(deployed: Deployed) -> None:
    iam = deployed.cloud.client("iam")
    found = set()
    for role in [name for name in deployed.resources if name.endswith("Role")]:
        name = deployed.resources[role]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        found |= {(role, each["Sid"]) for each in document["Statement"]}

    tried = {(role, sid) for role, sid, _ in NEEDED}
    assert {(role, sid) for role, sid in found if sid not in NOT_ENFORCED} == tried


@pytest.mark.parametrize(
    ("role", "sid", "act"), NEEDED, ids=[f"{role}-{sid}" for role, sid, _ in NEEDED]
)
def test_without_a_statement_something_fails(
    deployed: Deployed, role: str, sid: str, act: Act
) -> None:
    channel = f"{role}-{sid}"
    with (
        subscribed(deployed, channel, join_leave=True),
        subscribed(deployed, channel, join_leave=True),
        deployed.without(role, sid) as actions,
    ):
        before = len(denials(deployed))

        act(deployed, channel, deployed.items(f"chan#{channel}#")[0])

        denied = until(
            lambda: denials(deployed)[before:],
            within=ANSWER_SECONDS,
            what=f"{role} is denied {actions}",
        )
    assert [line for line in denied if any(action in line for action in (*actions, "'403 "))]


def denials(deployed: Deployed) -> list[str]:
    """Lines of the log about calls that a policy did not allow."""
    lines = deployed.log()
    return [line for line in lines if "is not authorized to perform" in line or "'403 " in line]
