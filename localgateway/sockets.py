"""One connection's place between its transport and the core."""

import asyncio
from typing import Protocol

from localgateway.connection import SEND_EOF, Connection, End
from localgateway.events import Life
from localgateway.settings import Settings


class Owner(Protocol):
    """What a socket asks of the gateway that it belongs to."""

    settings: Settings

    def now(self) -> float:
        """Give the time in seconds since the epoch."""
        ...

    def receive(self, socket: "Socket", text: str) -> None:
        """Take a message."""
        ...

    def end(self, socket: "Socket", end: End) -> None:
        """Forget a connection that has ended; called again, do nothing."""
        ...


class Socket:
    """One connection's place between its transport and the core.

    aiohttp calls ``feed_data`` and ``feed_eof``, its interface of a payload parser.
    """

    def __init__(self, owner: Owner, connection: Connection, life: Life, ordinal: int) -> None:
        self.connection = connection
        self.life = life
        self.ordinal = ordinal
        self.posts = 0
        self.notify = True
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._held: bytearray | None = None
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, transport: asyncio.Transport) -> None:
        """Start to write: what was posted since ``$connect`` returned goes out now."""
        self._transport = transport
        self.flush()
        if self.connection.ended is None:
            self._watch()
        else:  # closed by a DELETE before the 101 was out
            self.stop_watching(self._owner.settings.close_seconds)

    # What comes in.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes from the client."""
        for text in self.connection.receive_data(data, self._owner.now()):
            self._owner.receive(self, text)
        self.flush()
        return False, b""

    def feed_eof(self) -> None:
        """Take the loss of the transport, whoever closed it."""
        self.connection.receive_eof()
        self._transport = None
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
        if not self.lost.done():
            self.lost.set_result(None)

    # What goes out.

    @property
    def pending(self) -> int:
        """Bytes that the client has not read yet, as far as the gateway can see."""
        written = self._transport.get_write_buffer_size() if self._transport else 0
        return written + len(self._held or b"")

    def send(self, data: bytes) -> None:
        """Send a text message."""
        self.connection.send(data, self._owner.now())
        self.flush()

    def close(self, end: End) -> None:
        """Close from the gateway's side."""
        self.connection.close(end)
        self.flush()

    def cut(self, *, notify: bool) -> None:
        """Break the TCP connection, with or without a ``$disconnect`` to come."""
        self.notify = self.notify and notify
        self.connection.cut()
        self.flush()
        self.abort()

    def hold(self) -> None:
        """From now on behave as if the client read nothing."""
        self._held = self._held or bytearray()

    def release(self) -> None:
        """Let the client read again, beginning with what was held."""
        held, self._held = self._held, None
        if held and self._transport is not None:
            self._transport.write(bytes(held))

    def flush(self) -> None:
        """Write what the core has to send, and notice its end."""
        for chunk in self.connection.data_to_send():
            if self._transport is None:
                continue
            if chunk == SEND_EOF:
                self._half_close(self._transport)
            elif self._held is not None:
                self._held += chunk
            else:
                self._transport.write(chunk)
        settings = self._owner.settings
        overflow = self.pending > settings.buffer_bytes + settings.post_bytes
        if overflow and self.connection.ended is None:
            # Posts are refused long before; so this is a client that asks for pongs or error
            # frames and does not read them.
            self.cut(notify=True)
        if self.connection.ended is not None:
            self._owner.end(self, self.connection.ended)

    def _half_close(self, transport: asyncio.Transport) -> None:
        """End our side and go on reading: a reset would overtake the close frame."""
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    # Time.

    def look(self) -> None:
        """Close the connection if its time has come."""
        self.connection.expire(self._owner.now())
        self.flush()

    def _watch(self) -> None:
        delay = max(self.connection.due() - self._owner.now(), 0.001)
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self.look()
        if self.connection.ended is None:
            self._watch()

    def stop_watching(self, close_seconds: float) -> None:
        """Give an ended connection that long to close, then cut it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(close_seconds, self.abort)

    def leave(self) -> None:
        """Close the transport without waiting for the client; cut where it does not read."""
        if self.pending:
            self.abort()
        elif self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the transport, if it is still there."""
        if self._transport is not None:
            self._transport.abort()
