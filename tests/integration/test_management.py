"""The sender against servers that misbehave, over real sockets on loopback."""

import contextlib
import datetime
import itertools
import logging
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import certificate
from chalicelib.model import Delivery, Post
from chalicelib.transport.management import Limits, ManagementTransport, World
from chalicelib.transport.sigv4 import Credentials
from tests.management_server import HASTE, Clock, Connections, HastyClock, transport_to
from tests.scripted_server import (
    BROKEN,
    FORBIDDEN,
    GONE,
    GONE_WITH_BODY,
    OK,
    THROTTLED,
    HangError,
    Request,
    ResetError,
    Script,
    serving,
)

DELIVERED, GONE_, FAILED = Delivery.DELIVERED, Delivery.GONE, Delivery.FAILED
WITHIN = 30.0  # seconds, of a clock that the tests move


def ids(count: int) -> list[str]:
    """Return well-formed connection ids."""
    return [f"{number:015d}=" for number in range(count)]


def posts(count: int, body: bytes = b"x") -> Iterator[Post]:
    """Return one frame for each of so many recipients."""
    return (Post(each, (body,)) for each in ids(count))


def all_delivered(count: int) -> dict[str, Delivery]:
    """Return the outcomes of a good day."""
    return dict.fromkeys(ids(count), DELIVERED)


def first_time(answer: bytes | type[Exception]) -> Script:
    """Return a script that misbehaves once an id, and is good ever after."""

    def script(request: Request) -> bytes:
        if request.count > 1:
            return OK
        if isinstance(answer, bytes):
            return answer
        raise answer

    return script


# Answers.


@pytest.mark.parametrize(
    "fault",
    [
        THROTTLED,
        BROKEN,
        b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 503 Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"\x15\x03\x01 this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        ResetError,
        HangError,
    ],
    ids=["429", "500", "chunked", "closing", "garbage", "ambiguous", "reset", "hang"],
)
def test_a_passing_fault_is_retried_until_it_is_over(fault: bytes | type[Exception]) -> None:
    """Every recipient meets it once, and is served in the end."""
    clock = HastyClock()

    with serving(first_time(fault)) as server, transport_to(server, clock=clock) as transport:
        outcomes = dict(transport.send(posts(20), within=600))

    assert outcomes == all_delivered(20)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (GONE, GONE_),
        (GONE_WITH_BODY, GONE_),
        (FORBIDDEN, FAILED),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 60000\r\n\r\n" + b"." * 60_000, FAILED),
        (b"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FAILED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, DELIVERED),
        (b"HTTP/1.1 204 No Content\r\n\r\n", DELIVERED),
        (OK + b"and some more", DELIVERED),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", DELIVERED),
    ],
    ids=["410", "410+body", "403", "400+body", "413", "100+200", "204", "200+more", "1.0"],
)
def test_a_final_answer_is_asked_for_once(answer: bytes, outcome: Delivery) -> None:
    """No retry can change it."""
    with serving(lambda _: answer) as server, transport_to(server) as transport:
        outcomes = dict(transport.send(posts(20), within=WITHIN))

    assert outcomes == dict.fromkeys(ids(20), outcome)
    assert sorted(request.id for request in server.requests) == ids(20)


def test_retry_after_is_waited_for() -> None:
    """Even though the jitter would have been nothing."""
    clock = HastyClock()
    asked: list[float] = []
    slow = b"HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"

    def script(request: Request) -> bytes:
        asked.append(clock.time)
        return slow if request.count == 1 else OK

    with serving(script) as server, transport_to(server, clock=clock) as transport:
        outcomes = dict(transport.send(posts(1), within=WITHIN))

    assert outcomes == all_delivered(1)
    assert asked[1] - asked[0] >= 2 - 0.1


def test_a_storm_of_errors_fails_in_time_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line a call: method, counts and causes; neither ids nor payloads."""
    clock = HastyClock()

    with (
        serving(lambda _: BROKEN) as server,
        transport_to(server, clock=clock, random=0.5) as transport,
        caplog.at_level(logging.INFO),
    ):
        outcomes = dict(transport.send(posts(30, b"secret"), within=5))

    assert outcomes == dict.fromkeys(ids(30), FAILED)
    [record] = caplog.records
    message = record.getMessage()
    assert message.startswith("recipients_failed method=POST failed=30 causes={")
    assert "secret" not in message and ids(1)[0] not in message


def test_backoff_doubles_up_to_its_cap() -> None:
    """With the worst of luck; each pause is at most 3 s."""
    clock = HastyClock()
    asked: list[float] = []

    def script(request: Request) -> bytes:
        asked.append(clock.time)
        return BROKEN

    with serving(script) as server, transport_to(server, clock=clock, random=0.99) as transport:
        list(transport.send(posts(1), within=20))

    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    wanted = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0, 3.0, 3.0]
    assert pauses == pytest.approx(wanted, abs=0.1)


# Silence.


def test_silent_recipients_do_not_hold_the_others_up() -> None:
    """Two connections, both hanging; another takes over before the answer is given up."""
    clock = HastyClock()
    limits = Limits(rate=1e6, connections=2, patience=0.1, answer=5)
    silent = set(ids(2))

    def script(request: Request) -> bytes:
        if request.id in silent and request.count == 1:
            raise HangError
        return OK

    with serving(script) as server, transport_to(server, clock=clock, limits=limits) as transport:
        order = [each for each, _ in transport.send(posts(30), within=1000)]

    assert sorted(order) == ids(30)
    assert set(order[-2:]) == silent


def test_a_server_that_never_answers_fails_everybody_when_time_is_up() -> None:
    """None of them is still outstanding afterwards."""

    def script(request: Request) -> bytes:
        raise HangError

    with (
        serving(script) as server,
        transport_to(server, clock=HastyClock()) as transport,
    ):
        outcomes = dict(transport.send(posts(200), within=4))

    assert outcomes == dict.fromkeys(ids(200), FAILED)


def test_nobody_listening_fails_everybody_when_time_is_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says why."""
    with serving(lambda _: OK) as server:
        pass

    # WHEN the port is closed
    with (
        contextlib.ExitStack() as stack,
        caplog.at_level(logging.INFO),
    ):
        clock = HastyClock()
        world = World(now=clock, monotonic=clock, random=lambda: 0.5, wait=clock.wait)
        transport = ManagementTransport(
            lambda: f"http://127.0.0.1:{server.port}/api",
            lambda: Credentials("AKID", "secret"),
            "eu-west-1",
            world=world,
        )
        stack.callback(transport.disconnect)
        outcomes = dict(transport.send(posts(10), within=3))

    assert outcomes == dict.fromkeys(ids(10), FAILED)
    assert "ConnectionRefusedError" in caplog.text


# Connections that outlive the call.


def test_connections_are_used_again_by_the_next_call() -> None:
    """A warm invocation opens none."""
    connections = Connections()
    with connections.serving() as server, transport_to(server) as transport:
        list(transport.send(posts(10), within=WITHIN))
        opened = server.sockets
        list(transport.probe(ids(10), within=WITHIN))
        list(transport.close(ids(10), within=WITHIN))

    assert server.sockets == opened <= 10


def test_connections_closed_while_frozen_cost_nobody_a_request() -> None:
    """The server hung up in between; each request is made once, on a new connection."""
    connections = Connections()
    with connections.serving() as server, transport_to(server) as transport:
        list(transport.send(posts(10), within=WITHIN))
        server.hang_up()
        outcomes = dict(transport.send(posts(10, b"y"), within=WITHIN))

    assert outcomes == all_delivered(10)
    assert connections.frames == {each: [b"x", b"y"] for each in ids(10)}


def test_connections_are_not_trusted_after_a_long_freeze() -> None:
    """No goodbye may have come through; the wall clock knows."""
    connections, clock = Connections(), Clock()
    with connections.serving() as server, transport_to(server, clock=clock) as transport:
        list(transport.send(posts(10), within=WITHIN))
        before = server.sockets
        clock.pass_time(HASTE.idle + 1)
        list(transport.send(posts(10), within=WITHIN))

    assert {request.socket for request in server.requests[10:]}.isdisjoint(range(before))


def test_a_connection_that_dies_under_a_request_is_replaced_at_once() -> None:
    """A server that closes what served before: the request is sent again, without a pause."""
    connections = Connections()
    served: set[int] = set()

    def script(request: Request) -> bytes:
        if request.socket in served:
            raise ResetError
        served.add(request.socket)
        return connections.answer(request)

    # GIVEN a clock that hardly moves: the worst pause would never be over
    clock = Clock()
    with serving(script) as server, transport_to(server, clock=clock, random=1.0) as transport:
        outcomes = dict(transport.send(posts(1), within=WITHIN))
        outcomes |= dict(transport.probe(ids(1), within=WITHIN))

    assert outcomes == all_delivered(1)
    assert [request.method for request in server.requests] == ["POST", "GET", "GET"]


def test_frames_stay_in_order_when_every_answer_closes_its_connection() -> None:
    """The next frame goes on another one, after the answer to the one before."""
    bodies: list[bytes] = []

    def script(request: Request) -> bytes:
        bodies.append(request.body)
        return OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    frames = tuple(b"%d" % number for number in range(20))
    with serving(script) as server, transport_to(server) as transport:
        outcomes = list(transport.send([Post(ids(1)[0], frames)], within=WITHIN))

    assert outcomes == [(ids(1)[0], DELIVERED)]
    assert tuple(bodies) == frames


def test_endpoint_and_credentials_are_asked_for_each_call() -> None:
    """Both may change between invocations."""
    identities = iter([Credentials("FIRST", "s", "t"), Credentials("SECOND", "s", None)])
    clock = Clock()
    with serving(lambda _: OK) as one, serving(lambda _: OK) as two:
        endpoints = iter([one.endpoint, two.endpoint])
        transport = ManagementTransport(
            lambda: next(endpoints),
            lambda: next(identities),
            "eu-west-1",
            world=World(now=clock, monotonic=clock, random=lambda: 0.0),
        )
        list(transport.send(posts(1), within=WITHIN))
        list(transport.send(posts(1), within=WITHIN))
        transport.disconnect()

    [first], [second] = one.requests, two.requests
    assert "Credential=FIRST/" in first.headers["authorization"]
    assert first.headers["x-amz-security-token"] == "t"
    assert "Credential=SECOND/" in second.headers["authorization"]
    assert "x-amz-security-token" not in second.headers


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads go to AWS or nowhere."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    with serving(lambda _: OK) as server, transport_to(server) as transport:
        assert dict(transport.send(posts(3), within=WITHIN)) == all_delivered(3)


# TLS.


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost, and a server context that has its key."""
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate_file, key_file = certificate.make(tmp_path_factory.mktemp("tls"), now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return certificate_file, context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_frames_arrive_whole_over_tls(
    bundle: tuple[Path, ssl.SSLContext], version: ssl.TLSVersion
) -> None:
    """128 KB do not fit in a socket's buffer; the rest is sent as it drains."""
    certificate_file, context = bundle
    context.maximum_version = version
    connections = Connections()
    frames = (bytes(range(256)) * 512, b"y" * 131_072)

    with (
        connections.serving(context) as server,
        transport_to(server, ca_bundle=str(certificate_file)) as transport,
    ):
        for _ in range(2):
            outcomes = dict(transport.send((Post(each, frames) for each in ids(20)), within=WITHIN))
            assert outcomes == all_delivered(20)
            server.hang_up()

    assert connections.frames == {each: list(frames * 2) for each in ids(20)}


def test_an_unknown_certificate_is_refused(
    bundle: tuple[Path, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent, and the log says why."""
    _, context = bundle
    with (
        serving(lambda _: OK, context) as server,
        transport_to(server, clock=HastyClock(), random=0.5) as transport,
    ):
        outcomes = dict(transport.send(posts(3), within=2))

    assert outcomes == dict.fromkeys(ids(3), FAILED)
    assert "SSLCertVerificationError" in caplog.text
    assert server.requests == []


# Bounds.


def test_memory_is_bounded_whatever_the_audience() -> None:
    """Ten thousand recipients, half of them refused at first: few are ever held at a time."""
    limits = Limits(rate=1e6, connections=16, waiting=50)
    held = most = 0

    def counted() -> Iterator[Post]:
        nonlocal held, most
        for post in posts(10_000):
            held += 1
            most = max(most, held)
            yield post

    def script(request: Request) -> bytes:
        return BROKEN if request.count == 1 and request.id[-2] in "02468" else OK

    clock = HastyClock()
    with serving(script) as server, transport_to(server, clock=clock, limits=limits) as transport:
        for _ in transport.send(counted(), within=1e6):
            held -= 1

    assert held == 0
    assert most <= limits.waiting + 3 * limits.connections
    assert server.most_open <= limits.connections


def test_the_rate_is_kept() -> None:
    """As the server's clock sees it: the burst, and then so many a second."""
    limits = Limits(rate=100)
    clock = HastyClock()

    with (
        serving(lambda _: OK) as server,
        transport_to(server, clock=clock, limits=limits) as transport,
    ):
        begin = clock.time
        list(transport.send(posts(200), within=1e6))
        elapsed = clock.time - begin

    assert elapsed >= (200 - 50) / 100


FAULTS: dict[str, bytes | type[Exception]] = {
    "ok": OK,
    "gone": GONE,
    "throttled": THROTTLED,
    "broken": BROKEN,
    "forbidden": FORBIDDEN,
    "reset": ResetError,
    "closing": OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(sorted(FAULTS)), max_size=4), min_size=1, max_size=12))
def test_each_recipient_has_one_outcome_and_it_is_the_truth(days: list[list[str]]) -> None:
    """Whatever the server does to each of them, in whatever order."""
    script_of = dict(zip(ids(len(days)), days, strict=True))

    def script(request: Request) -> bytes:
        day = script_of[request.id]
        fault = FAULTS[day[request.count - 1]] if request.count <= len(day) else OK
        if not isinstance(fault, bytes):
            raise fault
        return fault

    with serving(script) as server, transport_to(server, clock=HastyClock()) as transport:
        outcomes = list(transport.send(posts(len(days)), within=1e6))

    truth = {"gone": GONE_, "forbidden": FAILED, "ok": DELIVERED, "closing": DELIVERED}
    assert sorted(outcomes, key=lambda each: each[0]) == [
        (each, next((truth[fault] for fault in day if fault in truth), DELIVERED))
        for each, day in script_of.items()
    ]


# Cold start.


def test_import_loads_neither_boto3_nor_any_http_library() -> None:
    """Nor does asking for credentials that the environment has."""
    code = (
        "import sys, chalicelib.transport.management, chalicelib.transport.sigv4 as s;"
        "s.credentials_from({'AWS_ACCESS_KEY_ID': 'A', 'AWS_SECRET_ACCESS_KEY': 'S'})();"
        "heavy = {'boto3', 'botocore', 'asyncio', 'http.client', 'email'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
