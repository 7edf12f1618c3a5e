"""A small explicit-state model checker: every interleaving of atomic steps, breadth first.

A system is a set of states and, for each state, the steps that could be taken next.
The checker visits each reachable state once, so it covers every order of the steps, and because
it goes breadth first the first broken state it finds comes with a shortest trace to it.
States are compared by value: they are hashable tuples all the way down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class System(Protocol[S]):
    """What can be explored."""

    def initial(self) -> S:
        """The one state in which everything begins."""

    def steps(self, state: S) -> Iterable[tuple[str, S]]:
        """Each atomic step possible in ``state``: its label, and the state after it."""

    def broken(self, state: S) -> str:
        """What is wrong in ``state``; empty if nothing is."""


@dataclass(frozen=True)
class Counterexample:
    """What went wrong, and a shortest way to it: the label of each step."""

    wrong: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{number:3}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"  => {self.wrong}"])


@dataclass(frozen=True)
class Exploration:
    """How much was visited, and what was found; ``complete`` if no state was left out."""

    states: int
    complete: bool
    counterexample: Counterexample | None


class TooManyStatesError(Exception):
    """The bound on states was met before the exploration was complete."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"more than {self.limit} states"


class _Search(Generic[S]):
    """The states seen so far, each with the step that led to it."""

    def __init__(self, start: S) -> None:
        self.came_by: dict[S, tuple[S, str] | None] = {start: None}
        self.queue = deque([start])

    def add(self, state: S, before: S, label: str) -> bool:
        if state in self.came_by:
            return False
        self.came_by[state] = (before, label)
        self.queue.append(state)
        return True

    def trace(self, state: S) -> Iterator[str]:
        """The labels that lead to ``state``, last first."""
        step = self.came_by[state]
        while step is not None:
            before, label = step
            yield label
            step = self.came_by[before]


def explore(system: System[S], *, limit: int = 20_000_000) -> Exploration:
    """Visit every state, or stop at the first that is broken.

    Raises:
        TooManyStatesError: more than ``limit`` states were found.
    """
    search = _Search(system.initial())
    while search.queue:
        state = search.queue.popleft()
        for label, after in system.steps(state):
            if search.add(after, state, label) and (wrong := system.broken(after)):
                trace = tuple(reversed(list(search.trace(after))))
                return Exploration(
                    len(search.came_by), complete=False, counterexample=Counterexample(wrong, trace)
                )
        if len(search.came_by) > limit:
            raise TooManyStatesError(limit)
    return Exploration(len(search.came_by), complete=True, counterexample=None)
