"""The checker itself: it visits everything once, and finds a shortest way to what is broken."""

from collections.abc import Iterator

import pytest

from tests.model.checker import Counterexample, TooManyStatesError, explore

Counters = tuple[int, int]


class TwoCounters:
    """Two processes count to ``top``, each in steps of one; a state may be forbidden."""

    def __init__(self, top: int, forbidden: Counters | None = None) -> None:
        self.top = top
        self.forbidden = forbidden

    def initial(self) -> Counters:
        return (0, 0)

    def steps(self, state: Counters) -> Iterator[tuple[str, Counters]]:
        left, right = state
        if left < self.top:
            yield "left", (left + 1, right)
        if right < self.top:
            yield "right", (left, right + 1)

    def broken(self, state: Counters) -> str:
        return f"reached {state}" if state == self.forbidden else ""


def test_explore_visits_each_state_of_every_interleaving_once() -> None:
    found = explore(TwoCounters(top=3))

    assert (found.states, found.complete, found.counterexample) == (16, True, None)


def test_explore_finds_a_shortest_trace() -> None:
    found = explore(TwoCounters(top=3, forbidden=(2, 0)))

    assert found.counterexample == Counterexample("reached (2, 0)", ("left", "left"))
    assert str(found.counterexample) == "  1. left\n  2. left\n  => reached (2, 0)"


def test_explore_refuses_more_states_than_the_limit() -> None:
    with pytest.raises(TooManyStatesError, match="more than 10 states"):
        explore(TwoCounters(top=3), limit=10)
