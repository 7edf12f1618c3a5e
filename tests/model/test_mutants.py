"""Every step, condition and order in the algorithm is there for a reason: without it, this breaks.

``python -m tests.model --mutants`` shows a shortest way to each of these failures.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.model.algorithm import Delivery
from tests.model.checker import explore
from tests.model.configurations import BREAKS
from tests.model.rules import Mutant


@pytest.mark.parametrize("mutant", Mutant, ids=lambda mutant: mutant.name.lower())
def test_a_mutant_is_caught_where_the_algorithm_is_sound(
    mutant: Mutant, record_property: Callable[[str, object], None]
) -> None:
    rules = BREAKS[mutant]

    caught = explore(Delivery(replace(rules, mutant=mutant))).counterexample

    record_property("counterexample", str(caught))
    assert caught is not None, f"not caught: {mutant.value}"
    assert explore(Delivery(rules)).counterexample is None
