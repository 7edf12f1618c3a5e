"""What tests of a running stack share; unit tests use none of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent

if TYPE_CHECKING:
    from tests.support.stack import Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try tests with real sockets and processes again, at most twice, and say so at the end.

    They share a machine with whatever else runs there; what is wrong fails three times.
    """
    for item in items:
        if item.path.is_relative_to(HERE / "integration") or item.path.is_relative_to(HERE / "e2e"):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """bin/dev's whole stack in this process, on free ports: one a session, as it owns the env."""
    from chalicelib import rpc
    from tests.support.stack import running

    rpc.method("echo")(lambda call: call.data)
    rpc.method("whoami")(lambda call: call.connection.id)
    with running() as stack:
        yield stack
