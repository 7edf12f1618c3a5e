"""One target under atheris: ``python -m tests.fuzz.harness NAME [libFuzzer arguments]``.

bin/fuzz runs them all. https://llvm.org/docs/LibFuzzer.html#options
"""

import importlib
import logging
import sys


def main() -> None:
    atheris = importlib.import_module("atheris")  # it exists for few platforms, and has no types
    name = sys.argv.pop(1)
    # What libFuzzer hands to a shell when it starts itself again, which merging does.
    sys.argv[0] = f"{sys.executable} -m tests.fuzz.harness {name}"
    logging.disable()  # thousands of the same line a second
    with atheris.instrument_imports(include=["chalicelib", "jwt", "tests.fuzz.targets"]):
        importlib.import_module("jwt")
        targets = importlib.import_module("tests.fuzz.targets")
    atheris.Setup(sys.argv, targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
