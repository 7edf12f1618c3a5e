"""What integration tests share: engines for the session, a table for a test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.table import ENGINES, Table, engine
from tests.support.world import Clock


@pytest.fixture(scope="session")
def engines() -> Iterator[Callable[[str], str]]:
    """The URL of one of ENGINES, started by the first test that needs it."""
    urls: dict[str, str] = {}
    with ExitStack() as stack:

        def url(name: str) -> str:
            if name not in urls:
                urls[name] = stack.enter_context(engine(name))
            return urls[name]

        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tables(engines: Callable[[str], str], clock: Clock) -> Iterator[Callable[[str], Table]]:
    """Makes fresh tables on engines. Pages hold three items: nobody may forget the next page."""
    with ExitStack() as stack:

        def make(name: str) -> Table:
            made = Table(engines(name), clock, clock.sleep, page=3)
            stack.callback(made.drop)
            return made

        yield make


@pytest.fixture
def table(tables: Callable[[str], Table]) -> Table:
    """A fresh table on the first engine."""
    return tables(ENGINES[0])
