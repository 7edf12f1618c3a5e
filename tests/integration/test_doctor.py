"""bin/doctor finds what is wrong: one seeded misconfiguration at a time."""

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3  # noqa: TID251 a client of the emulator
import pytest

from devstack import aws, resources
from infra import doctor
from infra.doctor import Finding, examine

CONFIG = Path(__file__).parents[2] / ".chalice" / "config.json"
LOCAL = json.loads(CONFIG.read_text())["stages"]["local"]["environment_variables"]
_numbers = itertools.count(1)


class Patient:
    """A whole deployment on an emulator, to be broken."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for key, value in LOCAL.items():
            if key.startswith("AWS_"):
                monkeypatch.setenv(key, value)
        self.url = url
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        self.table = f"doctor-{next(_numbers)}"  # what one test breaks, others do not see
        made = resources.create(url, self.table, stack=self.table)
        self.queue, self.dead = made["FanoutQueue"], made["IngestDeadLetters"]
        self.environment = {
            **LOCAL,
            "TABLE": self.table,
            "FANOUT_QUEUE_URL": self.queue,
            "INGEST_DEAD_LETTERS_URL": self.dead,
        }

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url)

    def set(self, **variables: str) -> None:
        self.environment |= variables

    def set_queue(self, **attributes: str) -> None:
        self.client("sqs").set_queue_attributes(QueueUrl=self.queue, Attributes=attributes)

    def set_ttl(self, attribute: str) -> None:
        dynamodb = self.client("dynamodb")
        off = {"Enabled": False, "AttributeName": "expires_at"}
        dynamodb.update_time_to_live(TableName=self.table, TimeToLiveSpecification=off)
        if attribute:
            on = {"Enabled": True, "AttributeName": attribute}
            dynamodb.update_time_to_live(TableName=self.table, TimeToLiveSpecification=on)

    def findings(self) -> list[Finding]:
        return list(examine(self.environment, self.client, "local"))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    with aws.embedded(0) as url:
        yield Patient(url, monkeypatch)


def test_a_healthy_deployment_has_no_findings(patient: Patient) -> None:
    assert patient.findings() == []


SEEDED: dict[str, tuple[Callable[[Patient], object], str]] = {
    "no table name": (lambda p: p.set(TABLE=""), "setting TABLE: is missing"),
    "no API keys": (lambda p: p.set(API_KEYS=""), "setting API_KEYS"),
    "broken channels": (lambda p: p.set(CHANNELS="{nope"), "setting CHANNELS"),
    "another table": (lambda p: p.set(TABLE="nothing"), "the table: .*ResourceNotFound"),
    "TTL off": (lambda p: p.set_ttl(""), "TTL is off"),
    "TTL by another attribute": (lambda p: p.set_ttl("ttl"), "TTL is by ttl, not expires_at"),
    "another queue": (
        lambda p: p.set(FANOUT_QUEUE_URL=p.queue.replace("fanout", "nothing")),
        "the fan-out queue: .*NonExistentQueue",
    ),
    "a plain queue": (lambda p: p.set(FANOUT_QUEUE_URL=p.dead), "FifoQueue is None, not true"),
    "a short visibility timeout": (
        lambda p: p.set_queue(VisibilityTimeout="20"),
        "come again after 20 s",
    ),
    "no dead letters": (lambda p: p.set_queue(RedrivePolicy=""), "has no dead letters"),
    "dead letters": (
        lambda p: p.client("sqs").send_message(QueueUrl=p.dead, MessageBody="x"),
        "1 messages came in",
    ),
    "the socket URL": (
        lambda p: p.set(WEBSOCKET_ENDPOINT="wss://a.execute-api.us-east-1.amazonaws.com/api"),
        "WEBSOCKET_ENDPOINT is wss",
    ),
    "another region": (
        lambda p: p.set(WEBSOCKET_ENDPOINT="https://a.execute-api.eu-west-1.amazonaws.com/api"),
        "not in us-east-1",
    ),
}


@pytest.mark.parametrize("seed", SEEDED)
def test_a_misconfiguration_is_found_with_what_mends_it(patient: Patient, seed: str) -> None:
    break_it, expected = SEEDED[seed]

    break_it(patient)

    findings = patient.findings()
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError("\n".join(finding.what for finding in findings))
    assert all(finding.mend for finding in findings)


def test_a_clock_that_is_off_is_found(patient: Patient) -> None:
    late = datetime.now(timezone.utc) + timedelta(hours=1)

    (finding,) = doctor._clock(patient.client("dynamodb"), late)

    assert "clock is 3" in finding.what
