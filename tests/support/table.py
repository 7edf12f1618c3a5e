"""A DynamoDB API to test against: moto behind its lock, or an engine that runs elsewhere."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3  # noqa: TID251 a test's own client of the engine
from botocore.config import Config  # noqa: TID251 it comes with boto3

from chalicelib.store import table as calls_on
from chalicelib.store.dynamo import DynamoStore
from chalicelib.store.streams import DynamoStreams
from devstack import aws, resources
from tests.support import dynamodb_local

_numbers = itertools.count(1)


# An engine that runs already, by URL: then it alone is tested on.
ELSEWHERE = os.environ.get("CARILLON_DYNAMODB", "")  # noqa: TID251 which engine to test on
ENGINES = (ELSEWHERE,) if ELSEWHERE else ("moto", "dynamodb-local")


@contextmanager
def engine(name: str = ENGINES[0]) -> Iterator[str]:
    """The URL of one of ENGINES, which runs meanwhile."""
    if name == "moto":
        with aws.embedded(0) as url:
            yield url
    elif name == "dynamodb-local":
        with dynamodb_local.running() as url:
            yield url
    else:
        yield name


def client(url: str) -> Any:
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(max_pool_connections=64),
    )


class Table:
    """A fresh table, its store, and the calls that were made on it."""

    def __init__(
        self, url: str, clock: Callable[[], float], sleep: Callable[[float], None], *, page: int
    ) -> None:
        self.name = f"carillon-test-{os.getpid()}-{next(_numbers)}"
        self.client = client(url)
        resources.create_table(self.client, self.name)
        self.calls: list[str] = []
        self.client.meta.events.register("before-call.dynamodb", self._note)
        calls = calls_on.Table(
            self.name, clock=clock, sleep=sleep, page=page, connect=lambda: self.client
        )
        self.store = DynamoStore(calls)
        self.streams = DynamoStreams(calls)

    def _note(self, model: Any, **_rest: Any) -> None:
        self.calls.append(model.name)

    def items(self) -> list[dict[str, Any]]:
        """Everything in the table, expired or not."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.name)
        return [item for page in pages for item in page["Items"]]

    def drop(self) -> None:
        self.client.delete_table(TableName=self.name)
        self.client.close()
