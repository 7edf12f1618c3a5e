"""Misbehaviour, as an application and its clients meet it."""

import pytest
from websockets.sync.client import connect

from localgateway import Chaos
from tests.integration.localgateway.support import (
    DEADLINE,
    Recorder,
    Start,
    closed,
    connection_of,
    management,
    until,
)


@pytest.mark.parametrize(
    ("share", "error"),
    [
        ("gone", "GoneException"),
        ("throttled", "LimitExceededException"),
        ("failed", "InternalServerErrorException"),
        ("unavailable", "ServiceUnavailableException"),
    ],
)
def test_posts_fail_as_planned_and_are_not_delivered(
    local_gateway: Start, share: str, error: str
) -> None:
    gateway = local_gateway({})
    setattr(gateway.chaos, share, 1.0)
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        connection = gateway.connection_ids()[0]
        with pytest.raises(client_of.exceptions.ClientError) as caught:
            client_of.post_to_connection(ConnectionId=connection, Data=b"lost")
        assert caught.value.response["Error"]["Code"] == error
        gateway.chaos = Chaos()
        client_of.post_to_connection(ConnectionId=connection, Data=b"kept")
        assert client.recv(timeout=DEADLINE) == "kept"


def test_the_same_seed_fails_the_same_posts(local_gateway: Start) -> None:
    def failures() -> list[int]:
        gateway = local_gateway({}, chaos=Chaos(seed=7, throttled=0.3))
        client_of = management(gateway.management_url)
        failed = []
        with connect(gateway.ws_url, max_queue=None):
            connection = gateway.connection_ids()[0]
            for number in range(30):
                try:
                    client_of.post_to_connection(ConnectionId=connection, Data=b"x")
                except client_of.exceptions.LimitExceededException:
                    failed.append(number)
        return failed

    first = failures()
    assert 0 < len(first) < 30
    assert failures() == first


def test_a_lost_disconnect_never_comes(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers(), chaos=Chaos(lose_disconnects=1))
    with connect(gateway.ws_url):
        app.next("$connect")
    until(lambda: not gateway.connection_ids())
    gateway.chaos = Chaos()
    with connect(gateway.ws_url):
        second = connection_of(app.next("$connect"))
    assert connection_of(app.next("$disconnect")) == second


def test_a_cut_loses_a_post_that_was_answered_200(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers(), chaos=Chaos(cut=1))
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        connection = connection_of(app.next("$connect"))
        client_of.post_to_connection(ConnectionId=connection, Data=b"lost")
        assert closed(client) == (1006, "")
    assert app.next("$disconnect")["requestContext"]["disconnectStatusCode"] == 1006


def test_a_held_connection_reads_nothing_until_it_is_released(local_gateway: Start) -> None:
    gateway = local_gateway({}, chaos=Chaos(held=1))
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        connection = gateway.connection_ids()[0]
        client_of.post_to_connection(ConnectionId=connection, Data=b"late")
        with pytest.raises(TimeoutError):
            client.recv(timeout=0.05)
        gateway.release(connection)
        assert client.recv(timeout=DEADLINE) == "late"


def test_a_delayed_post_arrives(local_gateway: Start) -> None:
    gateway = local_gateway({}, chaos=Chaos(delayed=1, delay_seconds=0.05))
    client_of = management(gateway.management_url)
    with connect(gateway.ws_url) as client:
        client_of.post_to_connection(ConnectionId=gateway.connection_ids()[0], Data=b"late")
        assert client.recv(timeout=DEADLINE) == "late"


def test_a_restart_cuts_everybody_without_a_disconnect(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as client:
        app.next("$connect")
        gateway.restart()
        assert closed(client) == (1012, "Service restart")
    assert gateway.connection_ids() == []
    gateway.quiet()
    assert app.events.empty()


def test_restarts_can_be_regular(local_gateway: Start) -> None:
    gateway = local_gateway({}, chaos=Chaos(restart_seconds=0.1))
    for _ in range(2):
        with connect(gateway.ws_url) as client:
            assert closed(client)[0] == 1012
