"""The life of a connection: limits, closes and clocks, with no socket and no waiting.

The client is the ``websockets`` library's own client protocol, or bytes written by hand.
"""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from localgateway.connection import (
    DELETED,
    GOING_AWAY,
    SEND_EOF,
    Connection,
    End,
    new_protocol,
)
from localgateway.settings import Settings

START = 1_700_000_000.0


class Pair:
    """A connection and a client, each fed with what the other sends."""

    def __init__(self, settings: Settings | None = None) -> None:
        chosen = settings or Settings()
        self.connection = Connection(new_protocol(chosen), chosen, START)
        self.client = Protocol(CLIENT, max_size=None)

    def up(self, now: float = START) -> list[str]:
        """Carry the client's bytes to the gateway; give the messages that arrived."""
        data = b"".join(self.client.data_to_send())
        return self.connection.receive_data(data, now)

    def down(self) -> list[Frame]:
        """Carry the gateway's bytes to the client; give the frames that arrived."""
        for data in self.connection.data_to_send():
            if data != SEND_EOF:
                self.client.receive_data(data)
        return [frame for frame in self.client.events_received() if isinstance(frame, Frame)]

    def send(self, text: str, now: float = START) -> list[str]:
        self.client.send_text(text.encode())
        return self.up(now)

    def send_in_fragments(self, data: bytes, size: int) -> list[str]:
        self.client.send_text(data[:size], fin=len(data) <= size)
        for start in range(size, len(data), size):
            last = start + size >= len(data)
            self.client.send_continuation(data[start : start + size], fin=last)
        return self.up()

    @property
    def close_code(self) -> int | None:
        """The code of the close frame that the client got."""
        self.down()
        return None if self.client.close_rcvd is None else self.client.close_rcvd.code


def raw_frame(first: int, payload: bytes = b"", mask: bytes | None = b"\0\0\0\0") -> bytes:
    """Spell a short client frame by hand; the zero mask leaves the payload as it is."""
    masked = 0x80 if mask is not None else 0
    return bytes([first, masked | len(payload)]) + (mask or b"") + payload


# Messages.


@given(st.text())
def test_22_text_arrives_exactly(text: str) -> None:
    assert Pair().send(text) == [text]


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
def test_any_bytes_at_all_end_in_messages_or_an_end(data: bytes, cuts: list[int]) -> None:
    pair = Pair()
    start = 0
    for size in [*cuts, len(data)]:
        pair.connection.receive_data(data[start : start + size], START)
        start += size
    pair.connection.receive_eof()

    assert pair.connection.ended is not None


def test_22_fragments_are_joined_even_inside_a_character() -> None:
    assert Pair().send_in_fragments("é\U0001f600".encode(), 1) == ["é\U0001f600"]


def test_29_a_frame_of_32_kb_passes_and_one_byte_more_closes_1009() -> None:
    assert Pair().send("x" * 32_768) == ["x" * 32_768]

    pair = Pair()
    assert pair.send("x" * 32_769) == []
    assert pair.close_code == 1009
    assert pair.connection.ended is not None and pair.connection.ended.code == 1009


def test_29_a_message_of_128_kb_passes_and_one_byte_more_closes_1009() -> None:
    assert Pair().send_in_fragments(b"x" * 131_072, 32_768) == ["x" * 131_072]

    pair = Pair()
    assert pair.send_in_fragments(b"x" * 131_073, 32_768) == []
    assert pair.close_code == 1009


def test_30_a_binary_frame_closes_1003_and_is_no_message() -> None:
    pair = Pair()
    pair.client.send_binary(b"\0\1")

    assert pair.up() == []
    assert pair.close_code == 1003
    assert pair.connection.ended == End(1003, "")


def test_30_the_first_fragment_of_a_binary_message_is_enough() -> None:
    pair = Pair()
    pair.client.send_text(b"before")
    pair.client.send_binary(b"\0", fin=False)

    assert pair.up() == ["before"]
    assert pair.close_code == 1003


def test_31_a_ping_gets_a_pong_with_its_payload_and_is_no_message() -> None:
    pair = Pair()
    pair.client.send_ping(b"are you there")

    assert pair.up() == []
    assert [(frame.opcode, bytes(frame.data)) for frame in pair.down()] == [
        (Opcode.PONG, b"are you there")
    ]


def test_37_a_long_message_is_sent_in_several_frames() -> None:
    pair = Pair()
    pair.connection.send(b"x" * 40_000, START)
    frames = pair.down()

    assert [(frame.opcode, frame.fin, len(frame.data)) for frame in frames] == [
        (Opcode.TEXT, False, 32_768),
        (Opcode.CONT, True, 7_232),
    ]


def test_more_messages_a_second_than_allowed_close_1008() -> None:
    pair = Pair(Settings(messages_per_second=2))

    assert [pair.send("x"), pair.send("x"), pair.send("x", START + 0.5)] == [["x"], ["x"], ["x"]]
    assert pair.send("x", START + 0.6) == []
    assert pair.close_code == 1008


# Time.


def test_32_ten_idle_minutes_close_1001_going_away() -> None:
    pair = Pair()
    pair.connection.expire(START + 599.999)
    assert pair.connection.ended is None

    pair.connection.expire(START + 600)
    assert pair.connection.ended == End(1001, "Going away") == GOING_AWAY
    assert pair.close_code == 1001
    assert pair.client.close_rcvd is not None
    assert pair.client.close_rcvd.reason == "Going away"


def test_32_data_either_way_restarts_the_idle_clock() -> None:
    pair = Pair()
    pair.send("x", START + 500)
    assert pair.connection.due() == START + 1100

    pair.connection.send(b"x", START + 1000)
    assert pair.connection.due() == START + 1600
    assert pair.connection.last_active_at == START + 1000


@pytest.mark.parametrize(("counts", "due"), [(False, 600), (True, 1100)])
def test_32_whether_a_ping_restarts_the_idle_clock_is_a_setting(*, counts: bool, due: int) -> None:
    pair = Pair(Settings(ping_is_activity=counts))
    pair.client.send_ping(b"")
    pair.up(START + 500)

    assert pair.connection.due() == START + due


def test_33_two_hours_close_1001_whatever_the_traffic() -> None:
    pair = Pair()
    for minute in range(0, 120, 5):
        pair.send("x", START + minute * 60)
        pair.connection.expire(START + minute * 60)
        assert pair.connection.ended is None

    pair.connection.expire(START + 7199.9)
    assert pair.connection.ended is None
    pair.connection.expire(START + 7200)
    assert pair.close_code == 1001


# Ends.


def test_34_a_close_without_a_code_is_1005() -> None:
    pair = Pair()
    pair.client.send_close()
    pair.up()

    assert pair.connection.ended == End(1005, "Client-side close frame status not set")


@pytest.mark.parametrize("reason", ["", "bye", "é"])
def test_34_a_close_with_a_code_keeps_its_code_and_reason(reason: str) -> None:
    pair = Pair()
    pair.client.send_close(1000, reason)
    pair.up()

    assert pair.connection.ended == End(1000, reason)
    assert pair.close_code == 1000


def test_35_the_loss_of_the_network_is_1006() -> None:
    pair = Pair()
    pair.connection.receive_eof()

    assert pair.connection.ended == End(1006, "Connection closed abnormally")


def test_35_a_browser_that_leaves_is_1001_without_a_reason() -> None:
    pair = Pair()
    pair.client.send_close(1001)
    pair.up()
    pair.connection.receive_eof()

    assert pair.connection.ended == End(1001, "")


def test_36_the_first_end_is_the_only_one() -> None:
    pair = Pair()
    pair.connection.close(DELETED)
    pair.client.send_close(4000, "late")
    pair.up()
    pair.connection.receive_eof()
    pair.connection.close(GOING_AWAY)

    assert pair.connection.ended == End(1000, "Connection Closed Normally")


def test_after_the_end_nothing_is_sent_or_received() -> None:
    pair = Pair()
    pair.connection.close(DELETED)
    pair.down()
    pair.connection.send(b"late", START)

    assert pair.down() == []
    pair.client.writes.clear()
    assert pair.connection.receive_data(raw_frame(0x81, b"x"), START) == []


# Abuse: each costs the one connection, with the close code of RFC 6455, section 7.4.1.


@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("an unmasked frame", raw_frame(0x81, b"x", mask=None), 1002),
        ("a reserved bit", raw_frame(0x91, b"x"), 1002),
        ("a reserved opcode", raw_frame(0x83, b"x"), 1002),
        ("a fragmented ping", raw_frame(0x09, b"x"), 1002),
        ("a ping of 126 bytes", b"\x89\xfe" + struct.pack("!H", 126) + bytes(130), 1002),
        ("a continuation of nothing", raw_frame(0x80, b"x"), 1002),
        ("a text inside a text", raw_frame(0x01, b"x") + raw_frame(0x81, b"x"), 1002),
        ("a close of one byte", raw_frame(0x88, b"x"), 1002),
        ("a close with code 999", raw_frame(0x88, struct.pack("!H", 999)), 1002),
        ("a close with code 1005", raw_frame(0x88, struct.pack("!H", 1005)), 1002),
        ("bad UTF-8 in a text", raw_frame(0x81, b"\xff"), 1007),
        ("half a character", raw_frame(0x81, b"\xc3"), 1007),
        ("a surrogate", raw_frame(0x81, b"\xed\xa0\x80"), 1007),
        ("bad UTF-8 in a close", raw_frame(0x88, b"\x03\xe8\xff"), 1007),
        ("a length of 2**63", b"\x81\xff" + b"\x80" + bytes(7), 1009),
        ("a length of 1 TB", b"\x81\xff" + struct.pack("!Q", 2**40), 1009),
    ],
)
def test_abuse_closes_with_the_code_of_the_rfc(what: str, data: bytes, code: int) -> None:
    pair = Pair()

    assert pair.connection.receive_data(data, START) == [], what
    assert pair.close_code == code
    assert pair.connection.ended is not None and pair.connection.ended.code == code


def test_a_flood_of_empty_fragments_takes_no_room() -> None:
    pair = Pair()
    pair.connection.receive_data(raw_frame(0x01), START)
    flood = raw_frame(0x00) * 10_000

    assert pair.connection.receive_data(flood, START) == []
    assert pair.connection.receive_data(raw_frame(0x80, b"end"), START) == ["end"]


def test_garbage_after_the_close_is_discarded() -> None:
    pair = Pair()
    pair.connection.receive_data(raw_frame(0x91), START)

    assert pair.connection.receive_data(os.urandom(4096), START) == []
