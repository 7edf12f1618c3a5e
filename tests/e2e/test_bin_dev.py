"""bin/dev as a person runs it: a process that says ready, and ends when it is told to."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def ports(http: int, ws: int, aws: int) -> list[str]:
    return ["--http-port", str(http), "--ws-port", str(ws), "--aws-port", str(aws)]


@contextmanager
def started(command: Sequence[str], **env: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the project's folder, without this one's stage; stopped at the end."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}  # noqa: TID251 a child's
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, "PYTHONUNBUFFERED": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def dev(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "devstack", *arguments]


def wait_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if line.startswith("ready"):
            return line
        seen.append(line)
    raise AssertionError(f"it ended before it was ready: {''.join(seen)}")


def post(url: str, body: object) -> object:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"X-API-Key": "local-key", "Connection": "close"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_ready_works_and_stops_cleanly(how: signal.Signals) -> None:
    http, ws, aws = free_ports(3)
    with started(dev(*ports(http, ws, aws))) as process:
        ready = wait_ready(process)
        for part in (f"http://127.0.0.1:{http}", f"ws://127.0.0.1:{ws}/api", "local-key", "curl"):
            assert part in ready
        with connect(f"ws://127.0.0.1:{ws}/api") as socket_:
            socket_.send('{"action":"subscribe","channel":"demo"}')
            assert json.loads(socket_.recv())["event"] == "subscribe"
            post(f"http://127.0.0.1:{http}/publish", {"channel": "demo", "data": "hello"})
            assert json.loads(socket_.recv())["data"] == "hello"
        process.send_signal(how)
        output, _ = process.communicate(timeout=30)

        assert process.returncode == 0, output
        assert "Traceback" not in output
    for port in (http, ws, aws):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_curl_that_it_prints_works() -> None:
    with started(dev(*ports(*free_ports(3)))) as process:
        curl = wait_ready(process).partition("try: ")[2]
        answer = subprocess.run(
            ["bash", "-c", f"{curl.strip()} -s"], capture_output=True, text=True
        )

        assert json.loads(answer.stdout)["result"]["offset"] == 1


@pytest.mark.parametrize("taken", ["--http-port", "--ws-port", "--aws-port"])
def test_a_taken_port_is_a_clear_error(taken: str) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        port = str(occupant.getsockname()[1])
        arguments = ports(*free_ports(3))
        arguments[arguments.index(taken) + 1] = port
        with started(dev(*arguments)) as process:
            output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert output.strip() == (
        f"bin/dev: port {port} is taken; stop what listens there, or give {taken} PORT"
    )


def test_the_app_can_be_killed_without_its_table() -> None:
    http, ws, aws = free_ports(3)
    with started(dev("--aws-only", "--aws-port", str(aws))) as table:
        wait_ready(table)
        options = [*ports(http, ws, aws), "--aws", f"http://127.0.0.1:{aws}"]
        with started(dev(*options)) as first:
            wait_ready(first)
            with connect(f"ws://127.0.0.1:{ws}/api") as socket_:
                socket_.send('{"action":"subscribe","channel":"demo"}')
                socket_.recv()
                first.kill()
                first.wait()
        with started(dev(*options)) as second:
            wait_ready(second)
            listed = post(f"http://127.0.0.1:{http}/channels", {})

    assert listed == {"result": {"channels": {"demo": {"num_clients": 1}}}}


def test_the_callers_environment_wins() -> None:
    http, ws, aws = free_ports(3)
    with started(dev(*ports(http, ws, aws)), API_KEYS="mine") as process:
        assert "API key: mine" in wait_ready(process)
        with pytest.raises(HTTPError, match="401"):
            post(f"http://127.0.0.1:{http}/publish", {"channel": "a", "data": 1})


def test_chalice_local_serves_the_http_api_beside_it() -> None:
    """With the ports that stage local names, since chalice's own environment beats the caller's."""
    (http,) = free_ports(1)
    chalice = [str(Path(sys.executable).parent / "chalice")]
    with started(dev("--no-http")) as process:
        wait_ready(process)
        serve = ["local", "--stage", "local", "--no-autoreload", "--port", str(http)]
        with started([*chalice, *serve]) as local, connect("ws://127.0.0.1:8001/api") as socket_:
            assert local.stdout is not None
            assert any("Serving on" in line for line in local.stdout)
            socket_.send('{"action":"subscribe","channel":"demo"}')
            socket_.recv()
            post(f"http://127.0.0.1:{http}/publish", {"channel": "demo", "data": 1})
            assert json.loads(socket_.recv())["data"] == 1
