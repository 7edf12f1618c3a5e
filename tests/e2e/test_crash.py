"""A publication that was accepted survives the death of the app, at any point of its fan-out."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import RemoteDisconnected

import pytest

from tests.e2e.clients import event
from tests.e2e.conftest import Clients
from tests.e2e.test_bin_dev import dev, free_ports, ports, post, started, wait_ready


@pytest.fixture
def aws() -> Iterator[str]:
    """An embedded AWS that outlives the app."""
    (port,) = free_ports(1)
    with started(dev("--aws-only", "--aws-port", str(port))) as process:
        wait_ready(process)
        yield f"http://127.0.0.1:{port}"


def publish(url: str, data: str) -> dict[str, object]:
    answer = post(f"{url}/publish", {"channel": "orders", "data": data})
    assert isinstance(answer, dict)
    return answer


def wait_for_line(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    assert any(line.strip() == wanted for line in process.stdout), "it ended before"


@pytest.mark.parametrize(
    ("point", "fanout", "answered"),
    [("ring", "inline", False), ("drain", "sqs", True), ("lost", "inline", True)],
)
@pytest.mark.parametrize("sdk", ["js"])
def test_who_comes_back_gets_what_was_published_before_the_app_died(
    clients: Clients, aws: str, point: str, fanout: str, *, answered: bool
) -> None:
    """The client reconnects by itself, once there is an app again."""
    http, ws = free_ports(2)
    url, client = f"http://127.0.0.1:{http}", clients()
    dies = [sys.executable, "-m", "tests.e2e.dying", point, fanout, str(http), str(ws), aws]
    with started(dies) as dying:
        wait_ready(dying)
        client.connect(f"ws://127.0.0.1:{ws}/api")
        client.subscribe("orders")
        publish(url, "before")
        client.wait_for(event("publication", data="before"))
        since = len(client.events)
        dying.send_signal(signal.SIGUSR1)
        wait_for_line(dying, "armed")
        if answered:
            assert "result" in publish(url, "meanwhile")
        else:
            with pytest.raises((RemoteDisconnected, ConnectionResetError)):
                publish(url, "meanwhile")
        dying.kill()
        dying.wait()

    with started(dev(*ports(http, ws, 0), "--aws", aws, "--fanout", fanout)) as healthy:
        wait_ready(healthy)
        back = client.wait_for(event("subscribed", channel="orders"), since=since)
        client.wait_for(event("publication", data="meanwhile"))
        client.command("disconnect")
        client.wait_for(event("disconnected"))

    assert back["recovered"]
    assert client.publications("orders") == ["before", "meanwhile"]
