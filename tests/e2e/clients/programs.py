"""How to start a driver of each SDK, installing or building what it needs.

Everything lands inside the repository, so nothing depends on a home directory.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from os import environ  # noqa: TID251 npm and go take their folders from the environment
from pathlib import Path

from tests.e2e.clients import ROOT

HERE = Path(__file__).parent
CACHE = ROOT / ".cache"

Command = list[str]


class UnavailableError(Exception):
    """A program that the driver needs is not on this machine."""


def javascript() -> Command:
    """Raises: UnavailableError."""
    node, npm = _program("node", "Node.js"), _program("npm", "npm")
    folder = HERE / "js"
    lock = (folder / "package-lock.json").read_text()
    stamp = folder / "node_modules" / ".installed-lock"
    if not stamp.exists() or stamp.read_text() != lock:
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        _run([npm, "ci", *flags], folder, {"npm_config_cache": str(CACHE / "npm")})
        stamp.write_text(lock)
    return [node, str(folder / "client.js")]


def go() -> Command:
    """Raises: UnavailableError."""
    binary = CACHE / "go" / "e2e-client"
    folders = {"GOPATH": "path", "GOMODCACHE": "mod", "GOCACHE": "build"}
    settings = {name: str(CACHE / "go" / folder) for name, folder in folders.items()}
    flags = ("-mod=readonly", "-modcacherw", "-buildvcs=false")
    _run([_program("go", "Go"), "build", *flags, "-o", str(binary), "."], HERE / "go", settings)
    return [str(binary)]


def python() -> Command:
    return [sys.executable, "-m", "tests.e2e.clients.python"]


def plain() -> Command:
    return [sys.executable, "-m", "tests.e2e.clients.plain"]


SDKS: Mapping[str, Callable[[], Command]] = {"js": javascript, "python": python, "go": go}


def _program(name: str, title: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"{title} is not installed ({name} is not on the PATH)")
    return found


def _run(command: Sequence[str], folder: Path, settings: Mapping[str, str]) -> None:
    """Raises: RuntimeError with what the command said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")
