"""The fixture ``local_gateway``: ``pytest_plugins = ["localgateway.pytest_plugin"]``."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from localgateway.serving import LocalGateway, serve


@pytest.fixture
def local_gateway() -> Iterator[Callable[..., LocalGateway]]:
    """Start gateways that stop with the test; takes the arguments of ``serve``."""
    with ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(serve(app, **options))
