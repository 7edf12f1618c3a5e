"""What ``ports.Transport`` promises, held against every transport."""

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from chalicelib.model import Delivery, Post
from chalicelib.ports import Transport
from chalicelib.transport.memory import MemoryTransport
from tests.management_server import Connections, transport_to

DELIVERED, GONE, FAILED = Delivery.DELIVERED, Delivery.GONE, Delivery.FAILED
WITHIN = 30.0  # seconds; no test here comes near


class Peer(Protocol):
    """The far side, as a test scripts and asks it."""

    frames: dict[str, list[bytes]]

    def lose(self, connection_id: str) -> None: ...
    def fail(self, connection_id: str, *, after: int = 0) -> None: ...
    def throttle(self, connection_id: str, times: int) -> None: ...


Subject = tuple[Transport, Peer]


def memory() -> Iterator[Subject]:
    """The peer for unit tests."""
    transport = MemoryTransport()
    yield transport, transport


def management() -> Iterator[Subject]:
    """The real one, against an HTTP server on loopback."""
    connections = Connections()
    with connections.serving() as server, transport_to(server) as transport:
        yield transport, connections


@pytest.fixture(params=[memory, management], ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A transport and its far side."""
    make: Callable[[], Iterator[Subject]] = request.param
    yield from make()


def ids(count: int) -> list[str]:
    """Return well-formed connection ids."""
    return [f"{number:015d}=" for number in range(count)]


def test_every_recipient_gets_its_frames_in_order(subject: Subject) -> None:
    """And one outcome each."""
    transport, peer = subject
    posts = [Post(each, (b"1 " + each.encode(), b"2", "3 é".encode())) for each in ids(50)]

    outcomes = list(transport.send(posts, within=WITHIN))

    assert sorted(outcomes) == [(each, DELIVERED) for each in ids(50)]
    assert peer.frames == {post.connection_id: list(post.frames) for post in posts}


def test_nobody_is_an_audience_too(subject: Subject) -> None:
    """No recipients, no outcomes, for each verb."""
    transport, _ = subject

    assert list(transport.send([], within=WITHIN)) == []
    assert list(transport.probe([], within=WITHIN)) == []
    assert list(transport.close([], within=WITHIN)) == []


def test_gone_and_failing_recipients_hurt_nobody_else(subject: Subject) -> None:
    """Each has the outcome that is its own."""
    transport, peer = subject
    gone, failing, *live = ids(40)
    peer.lose(gone)
    peer.fail(failing)

    outcomes = dict(transport.send((Post(each, (b"x",)) for each in ids(40)), within=WITHIN))

    assert outcomes == {gone: GONE, failing: FAILED, **dict.fromkeys(live, DELIVERED)}
    assert sorted(each for each in peer.frames if peer.frames[each]) == live


def test_frames_after_a_failed_one_are_not_sent(subject: Subject) -> None:
    """A gap would be silent; a connection that failed recovers."""
    transport, peer = subject
    [recipient] = ids(1)
    peer.fail(recipient, after=1)

    outcomes = list(transport.send([Post(recipient, (b"1", b"2", b"3"))], within=WITHIN))

    assert outcomes == [(recipient, FAILED)]
    assert peer.frames[recipient] == [b"1"]


def test_throttled_recipient_is_served_in_the_end(subject: Subject) -> None:
    """Its frames still in order, none twice."""
    transport, peer = subject
    throttled, other = ids(2)
    peer.throttle(throttled, 3)

    posts = [Post(throttled, (b"1", b"2")), Post(other, (b"1",))]
    outcomes = dict(transport.send(posts, within=WITHIN))

    assert outcomes == {throttled: DELIVERED, other: DELIVERED}
    assert peer.frames[throttled] == [b"1", b"2"]


def test_time_that_is_up_fails_everybody_without_raising(subject: Subject) -> None:
    """Whoever was not pulled yet included."""
    transport, peer = subject

    outcomes = dict(transport.send((Post(each, (b"x",)) for each in ids(300)), within=0))

    assert outcomes == dict.fromkeys(ids(300), FAILED)
    assert not any(peer.frames.values())


def test_probe_tells_the_live_from_the_gone_and_sends_nothing(subject: Subject) -> None:
    """The sweep's question."""
    transport, peer = subject
    gone, *live = ids(10)
    peer.lose(gone)

    outcomes = dict(transport.probe(iter(ids(10)), within=WITHIN))

    assert outcomes == {gone: GONE, **dict.fromkeys(live, DELIVERED)}
    assert not any(peer.frames.values())


def test_close_cuts_once(subject: Subject) -> None:
    """DELIVERED now, GONE ever after, for the other verbs too."""
    transport, _ = subject
    [connection_id] = ids(1)

    assert list(transport.close([connection_id], within=WITHIN)) == [(connection_id, DELIVERED)]
    assert list(transport.close([connection_id], within=WITHIN)) == [(connection_id, GONE)]
    assert list(transport.probe([connection_id], within=WITHIN)) == [(connection_id, GONE)]
    assert list(transport.send([Post(connection_id, (b"x",))], within=WITHIN)) == [
        (connection_id, GONE)
    ]


def test_an_audience_is_pulled_as_it_is_served(subject: Subject) -> None:
    """An endless one can be started, and left."""
    transport, peer = subject
    pulled = 0

    def endless() -> Iterator[Post]:
        nonlocal pulled
        while True:
            pulled += 1
            yield Post(f"{pulled:015d}=", (b"x",))

    outcomes = transport.send(endless(), within=WITHIN)
    served = [next(outcomes) for _ in range(500)]
    outcomes.close()  # type: ignore[attr-defined]

    assert {outcome for _, outcome in served} == {DELIVERED}
    assert pulled <= 500 + 128 + 64


def test_an_error_of_the_audience_is_the_callers_own(subject: Subject) -> None:
    """It passes through, and the transport can be used again."""
    transport, _ = subject
    first, *_ = ids(1)

    def broken() -> Iterator[Post]:
        yield Post(first, (b"x",))
        raise LookupError("the next page")

    with pytest.raises(LookupError, match="the next page"):
        list(transport.send(broken(), within=WITHIN))
    assert list(transport.probe([first], within=WITHIN)) == [(first, DELIVERED)]


def test_threads_and_nested_calls_do_not_meet(subject: Subject) -> None:
    """Several calls at once, and one inside another, each see their own recipients only."""
    transport, _ = subject
    found: dict[int, list[str]] = {}

    def call(number: int) -> None:
        mine = [f"{number:05d}{each:010d}=" for each in range(30)]
        outcomes = transport.send((Post(each, (b"x",)) for each in mine), within=WITHIN)
        first, _ = next(outcomes)
        inner = [each for each, _ in transport.probe(mine, within=WITHIN)]
        assert sorted(inner) == mine
        found[number] = sorted([first, *(each for each, _ in outcomes)])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {
        number: [f"{number:05d}{each:010d}=" for each in range(30)] for number in range(6)
    }
