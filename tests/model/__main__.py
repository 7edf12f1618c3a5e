"""python -m tests.model [--large | --mutants]: explore, and print how much was visited."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

from tests.model.algorithm import Delivery
from tests.model.checker import explore
from tests.model.configurations import BREAKS, LARGE, NOT_PROMISED, SMALL
from tests.model.rules import Rules


def check(worlds: Mapping[str, Rules]) -> bool:
    """Explore each; print its figures, and the counterexample if there is one."""
    sound, states, began = True, 0, perf_counter()
    for name, rules in worlds.items():
        start = perf_counter()
        found = explore(Delivery(rules))
        states += found.states
        say(f"{found.states:>10,} states {perf_counter() - start:7.1f} s  {name}")
        if found.counterexample:
            say(str(found.counterexample))
            sound = False
    say(f"{states:>10,} states {perf_counter() - began:7.1f} s  in all")
    return sound


def show_mutants() -> bool:
    """Print a shortest counterexample of each mutant, and of what is not promised."""
    caught = True
    worlds = {f"{mutant.name}: {mutant.value}": (mutant, BREAKS[mutant]) for mutant in BREAKS}
    for name, (mutant, rules) in worlds.items():
        found = explore(Delivery(replace(rules, mutant=mutant)))
        say(f"\n{name}\n{found.counterexample or '  NOT CAUGHT'}")
        caught = caught and found.counterexample is not None
    for name, rules in NOT_PROMISED.items():
        say(f"\nNot promised: {name}\n{explore(Delivery(rules)).counterexample}")
    return caught


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--large", action="store_true", help="the large worlds: some minutes")
    which.add_argument("--mutants", action="store_true", help="the traces of the mutants")
    chosen = parser.parse_args()
    gc.disable()  # states have no cycles, and all of them are kept
    fine = show_mutants() if chosen.mutants else check(LARGE if chosen.large else SMALL)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
