"""The life of one connection, without I/O: bytes in, messages and bytes out.

The WebSocket protocol itself is the ``websockets`` library's sans-I/O one; this adds what is API
Gateway's: text only, a frame and a message limit, the idle and the lifetime clock, and what the
``$disconnect`` event will say. Times are seconds since the epoch and come in as ``now``.
"""

import logging
from dataclasses import dataclass

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from localgateway.settings import Settings

__all__ = ["SEND_EOF", "Connection", "End", "new_protocol"]

# The library logs at INFO; its lines would double ours.
_WIRE_LOG = logging.getLogger("localgateway.wire")
_WIRE_LOG.setLevel(logging.ERROR)

# As a real handshake says: permessage-deflate;server_max_window_bits=12.
# memLevel 5 is the library's own choice for servers: a tenth of zlib's default memory.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, compress_settings={"memLevel": 5}
)


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection ended, in the words of its ``$disconnect`` event."""

    code: int
    reason: str


NO_STATUS = End(1005, "Client-side close frame status not set")
ABNORMAL = End(1006, "Connection closed abnormally")
DELETED = End(1000, "Connection Closed Normally")
GOING_AWAY = End(1001, "Going away")
TOO_MANY_MESSAGES = End(1008, "Policy violation")
RESTARTING = End(1012, "Service restart")


def new_protocol(settings: Settings) -> ServerProtocol:
    """Make the protocol of a connection whose upgrade request something else has read."""
    return ServerProtocol(
        extensions=[_DEFLATE],
        state=State.OPEN,
        max_size=(settings.message_bytes, settings.frame_bytes),
        logger=_WIRE_LOG,
    )


class Connection:
    """One accepted connection.

    After any call, write what ``data_to_send`` gives and look at ``ended``: once set it never
    changes, and nothing more is received or sent.
    """

    def __init__(self, protocol: ServerProtocol, settings: Settings, connected_at: float) -> None:
        self._protocol = protocol
        self._settings = settings
        self._partial: bytearray | None = None
        self._rate = Rate(settings.messages_per_second, connected_at)
        self.connected_at = connected_at
        self.last_active_at = connected_at
        self.ended: End | None = None

    # The client's side.

    def receive_data(self, data: bytes, now: float) -> list[str]:
        """Take bytes from the client; give the messages that they complete, in order."""
        self._protocol.receive_data(data)
        messages = []
        for frame in self._protocol.events_received():
            if self.ended is not None:
                break
            assert isinstance(frame, Frame), "the handshake is over"
            text = self._receive_frame(frame, now)
            if text is not None:
                messages.append(text)
        self._notice_end()
        return messages

    def receive_eof(self) -> None:
        """Take the end of the TCP connection, orderly or not. Idempotent."""
        self._protocol.receive_eof()
        self._notice_end()

    def _receive_frame(self, frame: Frame, now: float) -> str | None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            if self._settings.ping_is_activity:
                self.last_active_at = now
            return None
        if frame.opcode is Opcode.CLOSE:
            return None
        self.last_active_at = now
        if frame.opcode is Opcode.BINARY:
            self._fail(End(CloseCode.UNSUPPORTED_DATA, ""))
            return None
        if frame.opcode is Opcode.TEXT:
            self._partial = bytearray()
        assert self._partial is not None, "the protocol refuses a continuation of nothing"
        self._partial += frame.data
        return self._whole_message(now) if frame.fin else None

    def _whole_message(self, now: float) -> str | None:
        assert self._partial is not None
        data, self._partial = self._partial, None
        if not self._rate.allows(now):
            self._fail(TOO_MANY_MESSAGES)
            return None
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._fail(End(CloseCode.INVALID_DATA, ""))
            return None

    # The gateway's side.

    def send(self, data: bytes, now: float) -> None:
        """Send one text message, cut into frames of at most ``frame_bytes``."""
        if self.ended is not None:
            return
        self.last_active_at = now
        size = self._settings.frame_bytes
        self._protocol.send_text(data[:size], fin=len(data) <= size)
        for start in range(size, len(data), size):
            self._protocol.send_continuation(
                data[start : start + size], fin=start + size >= len(data)
            )

    def close(self, end: End) -> None:
        """Start the closing handshake and end the connection, unless it has ended."""
        if self.ended is None:
            self.ended = end
            self._protocol.send_close(end.code, end.reason)

    def cut(self) -> None:
        """End the connection as if the network had."""
        if self.ended is None:
            self.ended = ABNORMAL

    # Time.

    def due(self) -> float:
        """Tell when ``expire`` is to be called next."""
        return min(
            self.connected_at + self._settings.lifetime_seconds,
            self.last_active_at + self._settings.idle_seconds,
        )

    def expire(self, now: float) -> None:
        """Close a connection that has been idle, or has lived, too long."""
        if now >= self.due():
            # The reason of the lifetime cut is inferred from that of the idle cut.
            self.close(GOING_AWAY)

    # What goes out.

    def data_to_send(self) -> list[bytes]:
        """Give the bytes to write, once; ``SEND_EOF`` stands for the end of the stream."""
        return self._protocol.data_to_send()

    def _fail(self, end: End) -> None:
        """Refuse what the client sent: say why and stop reading.

        A client that sent its close frame in the same breath is already answered.
        """
        self.ended = end
        if self._protocol.state is State.OPEN:
            self._protocol.fail(end.code, end.reason)

    def _notice_end(self) -> None:
        if self.ended is not None:
            return
        protocol = self._protocol
        if protocol.parser_exc is not None:
            sent = protocol.close_sent
            self.ended = ABNORMAL if sent is None else End(sent.code, sent.reason)
        elif protocol.close_rcvd is not None:
            # That a client's own reason is copied verbatim is inferred from the captures.
            received = End(protocol.close_rcvd.code, protocol.close_rcvd.reason)
            self.ended = NO_STATUS if received.code == NO_STATUS.code else received


class Rate:
    """A token bucket of one second's worth; None allows everything."""

    def __init__(self, per_second: float | None, now: float) -> None:
        self._per_second = per_second
        self._most = max(per_second or 0.0, 1.0)
        self._tokens = self._most
        self._at = now

    def allows(self, now: float) -> bool:
        """Take a token if there is one."""
        if self._per_second is None:
            return True
        refill = (now - self._at) * self._per_second
        self._tokens = min(self._most, self._tokens + refill)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
