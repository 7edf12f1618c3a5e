"""What a handshake's headers say: a token, for clients that cannot send it in a command.

Browsers cannot set headers on a WebSocket, but they can offer subprotocols: a client offers
``carillon`` and ``bearer.<token>``, and gets ``carillon``. Never a token in a URL: URLs are logged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SUBPROTOCOL = "carillon"
_TOKEN = "bearer."


@dataclass(frozen=True, slots=True)
class Handshake:
    """The token that came with it, empty if none did, and the headers to answer with."""

    token: str
    answer: Mapping[str, str]


def read(headers: Mapping[str, str]) -> Handshake:
    """Read a `$connect` event's headers, whose names are spelled as the client spelled them."""
    lower = {name.lower(): value for name, value in headers.items()}
    offered = [each.strip() for each in lower.get("sec-websocket-protocol", "").split(",")]
    token = next((each[len(_TOKEN) :] for each in offered if each.startswith(_TOKEN)), "")
    scheme, _, credential = lower.get("authorization", "").partition(" ")
    if not token and scheme.lower() == "bearer":
        token = credential.strip()
    answer = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if SUBPROTOCOL in offered else {}
    return Handshake(token, answer)
