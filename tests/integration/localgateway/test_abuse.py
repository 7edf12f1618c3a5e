"""Abuse of the protocol, byte by byte: it costs the one connection and nobody else."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.client import ClientConnection, connect

from localgateway import LocalGateway
from tests.integration.localgateway.support import DEADLINE, Recorder, Start, until

UPGRADE = (
    b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

POST = b"POST /api/@connections/AAAAAAAAAAAAAAA= HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def tcp(gateway: LocalGateway) -> Iterator[socket.socket]:
    """Open a bare TCP connection."""
    with socket.create_connection(("127.0.0.1", gateway.port), DEADLINE) as raw:
        yield raw


def read_to_the_end(raw: socket.socket) -> bytes:
    """Read until the gateway ends the stream, politely or with a reset."""
    received = bytearray()
    try:
        while chunk := raw.recv(65_536):
            received += chunk
    except ConnectionResetError:
        received += b""  # what was read before the reset is what there is
    return bytes(received)


def assert_unharmed(neighbour: ClientConnection, app: Recorder) -> None:
    """Check that another connection still talks."""
    neighbour.send("still here")
    while app.events.get(timeout=DEADLINE).get("body") != "still here":
        pass


def masked(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x01x", 1002, id="no mask"),
        pytest.param(masked(0xC1, b"x"), 1002, id="reserved bit 1 without deflate"),
        pytest.param(masked(0xA1, b"x"), 1002, id="reserved bit 2"),
        pytest.param(masked(0x91, b"x"), 1002, id="reserved bit 3"),
        pytest.param(masked(0x8B, b""), 1002, id="reserved opcode"),
        pytest.param(masked(0x81, b"\xc0\xaf"), 1007, id="overlong UTF-8"),
        pytest.param(masked(0x81, b"\xf4\x90\x80\x80"), 1007, id="beyond unicode"),
        pytest.param(masked(0x80, b"x"), 1002, id="continuation of nothing"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 2**62), 1009, id="four exabytes"),
        pytest.param(masked(0x01, b"x" * 125) * 2, 1002, id="text inside a text"),
        pytest.param(
            masked(0x01, b"") + (b"\x00\xfe" + struct.pack("!H", 32_000) + bytes(32_004)) * 5,
            1009,
            id="flood of fragments",
        ),
    ],
)
def test_a_bad_frame_closes_that_connection_only(
    local_gateway: Start, data: bytes, code: int
) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as neighbour, tcp(gateway) as raw:
        raw.sendall(UPGRADE)
        until(lambda: len(gateway.connection_ids()) == 2)
        raw.sendall(data)
        frames = read_to_the_end(raw).partition(b"\r\n\r\n")[2]
        assert frames[:1] == b"\x88"
        assert struct.unpack("!H", frames[2:4])[0] == code
        assert_unharmed(neighbour, app)
        assert len(gateway.connection_ids()) == 1


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\x16\x03\x01" + bytes(200) + b"\r\n\r\n", id="TLS to a plain port"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="unknown HTTP"),
        pytest.param(POST + b"Content-Length: 9\r\n\r\nx", id="half a body"),
        pytest.param(b"GET /api HTTP/1.1\r\nHost: x", id="half a head"),
        pytest.param(UPGRADE[:-2] + b"X: " + b"x" * 100_000 + b"\r\n\r\n", id="huge header"),
        pytest.param(
            UPGRADE[:-2] + b"".join(b"X-%d: x\r\n" % each for each in range(2_000)) + b"\r\n",
            id="two thousand headers",
        ),
        pytest.param(
            b"GET /api?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="huge target"
        ),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="bad chunk"),
    ],
)
def test_a_bad_request_is_answered_4xx_or_cut(local_gateway: Start, head: bytes) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as neighbour, tcp(gateway) as raw:
        raw.sendall(head)
        raw.shutdown(socket.SHUT_WR)
        answer = read_to_the_end(raw)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        assert_unharmed(neighbour, app)
        assert len(gateway.connection_ids()) == 1


def test_a_slow_handshake_holds_up_nobody_and_is_cut_in_time(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers(), request_seconds=0.2)
    with tcp(gateway) as raw:
        raw.sendall(UPGRADE[:40])
        with connect(gateway.ws_url) as neighbour:
            assert_unharmed(neighbour, app)
            assert read_to_the_end(raw) == b""
            assert_unharmed(neighbour, app)


def test_random_bytes_after_the_handshake_end_that_connection(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with connect(gateway.ws_url) as neighbour:
        for _ in range(20):
            with tcp(gateway) as raw:
                raw.sendall(UPGRADE)
                assert raw.recv(65_536).startswith(b"HTTP/1.1 101")
                raw.sendall(os.urandom(2_000))
                raw.shutdown(socket.SHUT_WR)
                read_to_the_end(raw)
        until(lambda: len(gateway.connection_ids()) == 1)
        assert_unharmed(neighbour, app)


def test_a_flood_of_pings_that_nobody_reads_is_cut(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers(), buffer_bytes=1000, post_bytes=1000)
    flood = masked(0x89, b"x" * 125) * 500
    with connect(gateway.ws_url) as neighbour, tcp(gateway) as raw:
        raw.sendall(UPGRADE)
        with pytest.raises(ConnectionError):
            for _ in range(10_000):  # the kernel's buffers come first
                raw.sendall(flood)
        assert_unharmed(neighbour, app)
        assert len(gateway.connection_ids()) == 1


def test_frames_sent_before_the_101_are_not_lost(local_gateway: Start) -> None:
    app = Recorder()
    gateway = local_gateway(app.handlers())
    with tcp(gateway) as raw:
        raw.sendall(UPGRADE + masked(0x81, b"eager"))
        app.next("$connect")
        assert app.next("$default")["body"] == "eager"
