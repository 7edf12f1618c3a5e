"""What tests of a running stack share; unit tests use none of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """bin/dev's whole stack in this process, on free ports: one a session, as it owns the env."""
    from chalicelib import rpc
    from tests.support.stack import running

    rpc.method("echo")(lambda call: call.data)
    rpc.method("whoami")(lambda call: call.connection.id)
    with running() as stack:
        yield stack
