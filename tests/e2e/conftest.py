"""One stack and one driver of each SDK for all end-to-end tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from os import environ  # noqa: TID251 a flag of the test run, not of the app
from zlib import crc32

import pytest

from tests.e2e.clients import Client, Driver
from tests.e2e.clients.programs import SDKS, UnavailableError, plain
from tests.support.stack import Stack

Clients = Callable[[], Client]


@pytest.fixture(scope="session")
def drivers() -> Iterator[Callable[[str], Driver]]:
    """The driver of an SDK, started by the first test that needs it."""
    started: dict[str, Driver] = {}
    with ExitStack() as stack:

        def driver(sdk: str) -> Driver:
            if sdk not in started:
                program = plain() if sdk == "plain" else SDKS[sdk]()
                started[sdk] = stack.enter_context(Driver(program))
            return started[sdk]

        yield driver


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> str:
    """The name of an SDK: the test runs with each."""
    return str(request.param)


@pytest.fixture
def clients(drivers: Callable[[str], Driver], sdk: str) -> Iterator[Clients]:
    """Makes clients of the SDK, which are disconnected at the end of the test."""
    try:
        driver = drivers(sdk)
    except UnavailableError as error:
        if environ.get("CARILLON_SKIP_NOTHING") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield from _made_by(driver)


@pytest.fixture
def plain_clients(drivers: Callable[[str], Driver]) -> Iterator[Clients]:
    """Makes bare WebSockets that speak the action dialect."""
    yield from _made_by(drivers("plain"))


@pytest.fixture
def client(clients: Clients, stack: Stack) -> Client:
    """A connected client of the SDK."""
    client = clients()
    client.connect(stack.ws)
    return client


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """The name of a channel that no other test uses; the same in every run."""
    return f"e2e-{crc32(request.node.nodeid.encode()):08x}"


def _made_by(driver: Driver) -> Iterator[Clients]:
    made: list[Client] = []

    def make() -> Client:
        made.append(driver.client())
        return made[-1]

    yield make
    alive = [client for client in made if not _is_disconnected(client)]
    for client in alive:
        client.command("disconnect")
    for client in alive:
        client.wait_until(partial(_is_disconnected, client))


def _is_disconnected(client: Client) -> bool:
    """Whether the client has given up, or never began."""
    states = [each["event"] for each in client.events if each["event"] in _STATES]
    return not states or states[-1] == "disconnected"


_STATES = ("connecting", "connected", "disconnected")
