"""``python -m localgateway``, as a user runs it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.integration.localgateway.conftest import Certificate
from tests.integration.localgateway.support import DEADLINE, closed, refusal

ROOT = Path(__file__).parents[3]
APP = """
import os
from chalice.app import Chalice
app = Chalice(app_name="mine")

@app.on_ws_connect()
def connect(event):
    return {"statusCode": STATUS}
"""


class Command:
    """A running ``python -m localgateway`` and the log that it prints."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for each in self.process.stdout:
            self.lines.put(each.rstrip())

    def next(self, event: str) -> dict[str, Any]:
        """Wait for the next log line of this event."""
        while True:
            entry: dict[str, Any] = json.loads(self.lines.get(timeout=DEADLINE))
            if entry["event"] == event:
                return entry

    def stop(self) -> int:
        """End it as a supervisor does; give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        self._reader.join()
        return status


Run = Callable[..., Command]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run the command in a project that holds one app."""
    (tmp_path / "app.py").write_text(APP.replace("STATUS", "200"))

    def start(*arguments: str) -> Command:
        command = [sys.executable, "-m", "localgateway", "--port", "0", *arguments]
        environment = dict(os.environ, PYTHONPATH=str(ROOT))  # noqa: TID251 - the child's
        process = stack.enter_context(
            subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(process.kill)
        return Command(process)

    with ExitStack() as stack:
        yield start


def test_serves_an_app_logs_in_json_and_stops_on_sigterm(run: Run) -> None:
    command = run("app:app", "--log", "json", "--stage", "dev")
    url = command.next("listening")["ws"]

    assert url.endswith("/dev")
    with connect(url) as client:
        connected = command.next("connect")
        client.send("secret")
    assert connected["status"] == 101
    assert command.next("close")["connection"] == connected["connection"]
    assert command.stop() == 0


def test_reload_changes_handlers_and_keeps_sockets(run: Run, tmp_path: Path) -> None:
    command = run("--reload", "--log", "json")
    url = command.next("listening")["ws"]
    with connect(url) as client:
        (tmp_path / "app.py").write_text("no python")
        assert "SyntaxError" in command.next("reload.failed")["traceback"]
        assert refusal(url) == 101
        (tmp_path / "app.py").write_text(APP.replace("STATUS", "401"))
        assert command.next("reload")["connections"] == 1
        assert refusal(url) == 401
        assert client.ping().wait(DEADLINE)
    command.stop()


def test_serves_tls_and_takes_settings_and_chaos(run: Run, certificate: Certificate) -> None:
    file = str(certificate.file)
    chaos = "restart_seconds=0.2,seed=3"
    command = run(
        "--tls-cert", file, "--log", "json", "--chaos", chaos, "--set", "api_id=abcdefghij"
    )
    url = command.next("listening")["ws"]
    with connect(url, ssl=certificate.client()) as client:
        assert closed(client)[0] == 1012
    command.stop()


def test_sets_the_environment_of_a_chalice_stage(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".chalice").mkdir()
    config = {"stages": {"dev": {"environment_variables": {"ANSWER": "418"}}}}
    (tmp_path / ".chalice" / "config.json").write_text(json.dumps(config))
    (tmp_path / "app.py").write_text(APP.replace("STATUS", "int(os.environ['ANSWER'])"))
    command = run("--chalice-stage", "dev", "--log", "json")

    assert refusal(command.next("listening")["ws"]) == 418
    command.stop()


def test_the_text_log_has_one_readable_line_an_event(run: Run) -> None:
    command = run()
    url = command.lines.get(timeout=DEADLINE).split("ws=")[1].split()[0]
    with connect(url):
        words = command.lines.get(timeout=DEADLINE).split()
    assert words[1] == "connect"
    assert {word.partition("=")[0] for word in words[2:]} == {
        "connection",
        "request",
        "status",
        "ms",
    }
    command.stop()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing:app"], "nothing"),
        (["app:nothing"], "nothing"),
        (["--chaos", "nonsense=1"], "nonsense"),
        (["--set", "nonsense=1"], "nonsense"),
        (["--set", "route_selection=x"], "route selection"),
    ],
)
def test_what_cannot_start_says_why_and_exits_2(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("STATUS", "200"))
    done = subprocess.run(
        [sys.executable, "-m", "localgateway", "--port", "0", *arguments],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),  # noqa: TID251 - the child's
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert done.returncode == 2
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
