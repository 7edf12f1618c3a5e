"""Amazon's DynamoDB Local, where Java and Maven are there to run it."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def running() -> Iterator[str]:
    """Run it on a free port; the URL. Skips the test, with the reason, where it cannot run."""
    for program, title in (("java", "Java"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            _unavailable(f"{title} is not installed ({program} is not on the PATH)")
    command = ["bin/dynamodb-local", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield _url(process.stdout)
        finally:
            process.kill()


def _url(lines: Iterable[str]) -> str:
    for line in lines:
        if line.startswith("ready"):
            return line.split()[-1]
    raise RuntimeError("DynamoDB Local did not start; stderr says why")


def _unavailable(reason: str) -> None:
    if os.environ.get("CARILLON_SKIP_NOTHING") == "1":  # noqa: TID251 a flag of the test run
        pytest.fail(reason)
    pytest.skip(reason)
