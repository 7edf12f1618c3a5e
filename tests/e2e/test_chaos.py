"""A twentieth of `bin/bench chaos`: nobody loses anything while everything fails."""

import json
import subprocess
import sys
from os import environ  # noqa: TID251 the test run's own, not the app's

import pytest

from tests.e2e.clients import ROOT
from tests.e2e.clients.programs import SDKS, UnavailableError


def test_nobody_loses_anything() -> None:
    for sdk in SDKS.values():
        try:
            sdk()
        except UnavailableError as error:
            if environ.get("CARILLON_SKIP_NOTHING") == "1":
                pytest.fail(str(error))
            pytest.skip(str(error))
    command = [sys.executable, "-m", "bench", "chaos", "--scale", "0.05", "--seed", "7"]

    # Without the stage of the stack in this process.
    env = {key: environ[key] for key in ("PATH", "HOME") if key in environ}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)

    assert done.stdout, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["lost"] == 0, report
    assert done.returncode == 0, report
    assert report["published"] == 250
    assert report["recoveries"] > 0
    assert report["trimmed"] > 0
    assert report["deaths"]["drains killed"] > 0
