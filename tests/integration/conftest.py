"""What integration tests share: one engine a session, one table a test."""

from collections.abc import Iterator

import pytest

from tests.support.table import Table, engine
from tests.support.world import Clock


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[str]:
    with engine() as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(dynamodb: str, clock: Clock) -> Iterator[Table]:
    """Pages hold three items, so that nothing passes that forgets the next page."""
    made = Table(dynamodb, clock, clock.sleep, page=3)
    yield made
    made.drop()
