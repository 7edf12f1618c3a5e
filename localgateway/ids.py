"""The identifiers of API Gateway: 11 random bytes in URL-safe base64."""

import base64
import re
import uuid
from collections.abc import Callable

Entropy = Callable[[int], bytes]
"""Gives so many random bytes, as ``os.urandom`` does."""

_ID_BYTES = 11  # 15 characters and one "=", in every capture of a real event
_CONNECTION_ID = re.compile(r"[A-Za-z0-9_-]{15}=")


def new_id(entropy: Entropy) -> str:
    """Make a connection, request or message id."""
    return base64.urlsafe_b64encode(entropy(_ID_BYTES)).decode()


def is_connection_id(text: str) -> bool:
    """Tell whether API Gateway could have made this id (else it answers 400, not 410)."""
    return _CONNECTION_ID.fullmatch(text) is not None


def new_uuid(entropy: Entropy) -> str:
    """Make the kind of id that Lambda and the AWS SDKs use."""
    return str(uuid.UUID(bytes=entropy(16), version=4))


def new_trace_id(entropy: Entropy, now: float) -> str:
    """Make an ``X-Amzn-Trace-Id`` value (AWS X-Ray: version, epoch in hex, 96 random bits)."""
    return f"Root=1-{int(now):08x}-{entropy(12).hex()}"
