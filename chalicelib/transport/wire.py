"""One keep-alive connection to the management API: a non-blocking socket, TLS or plain."""

import os
import selectors
import socket
import ssl
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
RECEIVE = 16 * 1024  # bytes a read: one TLS record
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Address = tuple[socket.AddressFamily, Any]  # as getaddrinfo has it: family, sockaddr


def resolve(hostname: str, port: int) -> list[Address]:
    """Return the addresses of a host; blocks, and raises ``OSError`` if there are none."""
    found = socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


def trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a context that verifies: against ``ca_bundle`` (a file), or the system's own."""
    context = ssl.create_default_context(cafile=ca_bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Wire:
    """A socket on its way: connecting, then (TLS) shaking hands, then open.

    ``advance`` until it returns 0; then ``send`` and ``receive``. What fails raises ``OSError``.
    """

    __slots__ = ("sock", "_context", "_hostname", "_connected", "_secured")

    def __init__(self, address: Address, context: ssl.SSLContext | None, hostname: str) -> None:
        family, sockaddr = address
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(0)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.connect_ex(sockaddr)  # its error is asked for when the socket is writable
        except BaseException:
            self.sock.close()
            raise
        self._context = context
        self._hostname = hostname
        self._connected = False
        self._secured: ssl.SSLSocket | None = None

    def advance(self, session: ssl.SSLSession | None = None) -> int:
        """Go on after an event; return the event to wait for next, or 0 when open.

        ``session``, of an earlier connection to the same host, spares half of the handshake. The
        socket is another object afterwards: register ``sock`` anew.
        """
        if not self._connected:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            self._connected = True
            if self._context is None:
                return 0
            self.sock = self._secured = self._context.wrap_socket(
                self.sock,
                server_hostname=self._hostname,
                do_handshake_on_connect=False,
                session=session,
            )
        if self._secured is None:
            return 0
        try:
            self._secured.do_handshake()
        except ssl.SSLWantReadError:
            return READ
        except ssl.SSLWantWriteError:
            return WRITE
        return 0

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session, to be resumed by later connections; None if plain."""
        return self._secured.session if self._secured is not None else None
