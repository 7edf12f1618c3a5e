"""The stage `local` of .chalice/config.json, as far as the caller's environment leaves it open."""

import json
from os import environ  # noqa: TID251 it prepares the environment that settings.py reads
from pathlib import Path

CONFIG = Path(__file__).parent.parent / ".chalice" / "config.json"


def enter(**overrides: str) -> None:
    """Put the stage's variables into the environment; overrides beat it, the caller beats both."""
    stage = json.loads(CONFIG.read_text())["stages"]["local"]
    for key, value in {**stage["environment_variables"], **overrides}.items():
        environ.setdefault(key, value)


def fill(key: str, value: str) -> None:
    """Set a variable that is still empty."""
    environ[key] = environ.get(key) or value


def value(key: str) -> str:
    """What a variable is, empty if it is not set."""
    return environ.get(key, "")
