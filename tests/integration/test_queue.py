"""Doorbells through a FIFO queue: polled as Lambda polls it, drained by the app's own worker."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3  # noqa: TID251 the test makes its own queues
import msgspec
import pytest
from chalice.app import Chalice, SQSEvent

from chalicelib.dispatch import sqs
from chalicelib.dispatch.sqs import SqsDispatcher, group_of
from chalicelib.model import Report
from devstack.triggers import polling
from tests.support.world import World

_ONE = msgspec.Raw(b"1")


class Queue:
    """A FIFO queue and its dead letters, as in infra/resources.json but for the visibility."""

    def __init__(self, url: str) -> None:
        self._endpoint = url
        self.client = self.connect()
        dead = self._create("dead.fifo")
        arn = self.client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = '{"deadLetterTargetArn": "%s", "maxReceiveCount": 5}'
        self.url = self._create(
            "carillon-test.fifo",
            VisibilityTimeout="1",
            RedrivePolicy=policy % arn["Attributes"]["QueueArn"],
        )
        self.dead_url = dead

    def connect(self) -> Any:
        return boto3.session.Session().client(
            "sqs",
            endpoint_url=self._endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def _create(self, name: str, **attributes: str) -> str:
        made = self.client.create_queue(
            QueueName=name, Attributes={"FifoQueue": "true", **attributes}
        )
        return str(made["QueueUrl"])

    def dead_letters(self) -> list[str]:
        received = self.client.receive_message(
            QueueUrl=self.dead_url, WaitTimeSeconds=20, MaxNumberOfMessages=10
        )
        return [message["Body"] for message in received.get("Messages", [])]

    def drop(self) -> None:
        for url in (self.url, self.dead_url):
            self.client.delete_queue(QueueUrl=url)
        self.client.close()


@pytest.fixture
def queue(engines: Callable[[str], str]) -> Iterator[Queue]:
    made = Queue(engines("moto"))
    yield made
    made.drop()


class Worker:
    """The app's worker, whose fan-out a test can break, and which says when it has drained."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: set[str] = set()
        self.drained: dict[str, threading.Event] = {}
        self.app = Chalice(app_name="worker")

        @self.app.on_sqs_message(queue="carillon-test.fifo", batch_size=10)
        def fanout(event: SQSEvent) -> None:
            sqs.answer((record.body for record in event), self.drain)

    def drain(self, channel: str, shard: int) -> Report:
        if channel in self.broken:
            raise RuntimeError("this shard cannot be drained")
        report = self.world.app.fanout.drain(channel, shard)
        assert report is not None
        self.drained.setdefault(channel, threading.Event()).set()
        return report

    def wait(self, channel: str) -> None:
        assert self.drained.setdefault(channel, threading.Event()).wait(60)
        self.drained[channel].clear()


def _world(queue: Queue) -> World:
    ids = iter(range(10**6))
    dispatcher = SqsDispatcher(queue.url, new_id=lambda: f"d{next(ids)}", connect=queue.connect)
    world = World()
    world.notifier._dispatcher = dispatcher
    return world


def test_a_doorbell_gets_its_shard_drained(queue: Queue) -> None:
    world = _world(queue)
    worker = Worker(world)
    world.join("c1", "kept:a")
    with polling(worker.app, lambda _service: queue.connect()):
        for n in range(3):
            world.notifier.publish("kept:a", n)
            worker.wait("kept:a")

    assert [frame["offset"] for frame in world.heard("c1")[1:]] == [1, 2, 3]


def test_a_shard_that_cannot_be_drained_becomes_a_dead_letter_and_delays_no_other(
    queue: Queue,
) -> None:
    world = _world(queue)
    worker = Worker(world)
    worker.broken.add("kept:bad")
    world.join("c1", "kept:bad")
    world.join("c2", "kept:good")
    with polling(worker.app, lambda _service: queue.connect()):
        world.notifier.publish("kept:bad", "first")
        for n in range(3):
            world.notifier.publish("kept:good", n)
            worker.wait("kept:good")
        assert queue.dead_letters() == ['{"channel": "kept:bad", "shard": 0}']
        assert world.heard("c1")[1:] == []
        worker.broken.clear()
        world.notifier.publish("kept:bad", "second")
        worker.wait("kept:bad")

    assert [frame["data"] for frame in world.heard("c2")[1:]] == [0, 1, 2]
    assert [frame["data"] for frame in world.heard("c1")[1:]] == ["first", "second"]


def test_one_failing_shard_of_a_batch_does_not_keep_the_others_waiting() -> None:
    world = World()
    worker = Worker(world)
    worker.broken.add("kept:bad")
    for channel in ("kept:bad", "kept:good"):
        world.join(channel, channel)
        world.append(channel, world.settings.channels.options(channel), _ONE)
    doorbells = [f'{{"channel": "{c}", "shard": 0}}' for c in ("kept:bad", "kept:good")]

    with pytest.raises(RuntimeError, match="cannot be drained"):
        sqs.answer(doorbells * 2, worker.drain)
    assert len(world.heard("kept:good")) == 2


def test_groups_are_short_and_differ_by_channel_and_shard() -> None:
    groups = {group_of(c, s) for c in ("a", "b", "with space" * 20) for s in (0, 255)}

    assert len(groups) == 6
    assert all(len(group) <= 128 and " " not in group for group in groups)
