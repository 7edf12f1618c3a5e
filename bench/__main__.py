"""`python -m bench NAME …`: run one of the benchmarks, which are the files here with a `main`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    files = Path(__file__).parent.glob("[a-z]*.py")
    names = sorted(file.stem for file in files if "\ndef main(" in file.read_text())
    if not arguments or arguments[0] not in names:
        sys.stderr.write(f"usage: bin/bench {{{','.join(names)}}} …\n")
        return 2
    return int(import_module(f"bench.{arguments[0]}").main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
