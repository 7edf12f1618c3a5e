"""What tests of a running stack share; unit tests use none of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from devstack.stack import Urls


@pytest.fixture(scope="session")
def stack() -> Iterator[Urls]:
    """bin/dev's whole stack in this process, on free ports: one a session, as it owns the env."""
    from devstack.stack import Options, running

    with running(Options(http_port=0, ws_port=0, aws_port=0)) as urls:
        yield urls
