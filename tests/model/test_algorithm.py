"""The algorithm of docs/delivery.md keeps its guarantees in every interleaving of small worlds."""

import pytest

from tests.model.algorithm import Delivery
from tests.model.checker import explore
from tests.model.configurations import NOT_PROMISED, SMALL


@pytest.mark.parametrize("name", SMALL)
def test_every_interleaving_keeps_the_guarantees(name: str) -> None:
    found = explore(Delivery(SMALL[name]))

    assert found.counterexample is None, f"\n{found.counterexample}"
    assert found.complete


@pytest.mark.parametrize("name", NOT_PROMISED)
def test_what_is_not_promised_has_a_counterexample(name: str) -> None:
    """Should one of these hold one day, it could be promised."""
    assert explore(Delivery(NOT_PROMISED[name])).counterexample is not None
