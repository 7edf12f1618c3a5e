"""MiniStack: an AWS in one process, which runs functions and enforces their policies.

https://github.com/ministackorg/ministack
It has a virtual environment of its own under .cache/, since it pins botocore.
"""

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ, killpg  # noqa: TID251 a child's environment
from pathlib import Path
from signal import SIGKILL
from threading import Event
from time import monotonic
from typing import Any, TypeVar

import boto3  # noqa: TID251 the deployer's client
from botocore.config import Config  # noqa: TID251 it comes with boto3

_T = TypeVar("_T")

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".cache" / "ministack"
PINS = Path(__file__).with_name("ministack-requirements.txt")
ACCOUNT = "123456789012"
REGION = "us-east-1"
START_SECONDS = 30


class UnavailableError(Exception):
    """MiniStack cannot be installed here."""


def until(look: Callable[[], _T], *, within: float, what: str) -> _T:
    """The first true value of what is looked at, in a process that cannot call us back."""
    give_up_at = monotonic() + within
    pause = Event()
    while not (found := look()):
        assert monotonic() < give_up_at, f"not within {within} s: {what}"
        pause.wait(0.05)
    return found


def install() -> Path:
    """The python of MiniStack's environment, made at first use. Raises: UnavailableError."""
    python = HOME / "bin" / "python"
    marker = HOME / "installed"
    wanted = f"{sys.version}\n{PINS.read_text()}"
    if not marker.exists() or marker.read_text() != wanted:
        _run(sys.executable, "-m", "venv", "--clear", str(HOME))
        _run(str(python), "-m", "pip", "install", "--quiet", "-r", str(PINS))
        marker.write_text(wanted)
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UnavailableError(f"MiniStack cannot be installed: {done.stdout[-500:]}")


@dataclass(frozen=True, slots=True)
class MiniStack:
    """A running MiniStack, as an account's administrator sees it."""

    url: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )


@contextmanager
def running(port: int, folder: Path) -> Iterator[MiniStack]:
    """MiniStack on a loopback port, with IAM enforced; its state ends with it.

    Raises: UnavailableError.
    """
    python = install()
    log = folder / "ministack.log"
    settings = {
        "BIND_HOST": "127.0.0.1",  # it would listen on all addresses
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AUTH": "true",
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder),
    }
    kept = {key: environ[key] for key in ("PATH", "HOME") if key in environ}
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, "-m", "ministack"],
            env={**kept, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until(lambda: _is_up(process, url), within=START_SECONDS, what=f"MiniStack up, {log}")
            yield MiniStack(url)
        finally:
            # Asked politely, it takes 20 seconds; its workers are in the same group.
            killpg(process.pid, SIGKILL)
            process.wait()


def _is_up(process: "subprocess.Popen[bytes]", url: str) -> bool:
    assert process.poll() is None, "MiniStack ended"
    try:
        with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5):
            return True
    except OSError:
        return False
