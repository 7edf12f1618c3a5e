"""Signature Version 4, checked: is this request signed by one of these credentials?

Source: AWS General Reference, "Create a signed AWS API request"; for every service but S3 the
path, as it is on the wire, is encoded once more.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import parse_qsl, quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rf"{_ALGORITHM} Credential=(?P<key>[^/, ]+)/(?P<scope>[^, ]+), ?"
    r"SignedHeaders=(?P<headers>[^, ]+), ?Signature=(?P<signature>[0-9a-f]+)"
)
_SERVICE = "execute-api"
_SKEW_SECONDS = 300.0  # AWS refuses a signature that is more than five minutes off


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers; header names in lower case, the path and query as on the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a signature does not hold: the error's name and its message."""

    error: str
    message: str


INCOMPLETE = Fault("IncompleteSignatureException", "Authorization header is not a SigV4 one.")
UNKNOWN_KEY = Fault(
    "UnrecognizedClientException", "The security token included in the request is invalid."
)
WRONG_SCOPE = Fault(
    "InvalidSignatureException", f"Credential should be scoped to correct service: {_SERVICE}."
)
EXPIRED = Fault("InvalidSignatureException", "Signature expired or not yet current.")
MISMATCH = Fault(
    "InvalidSignatureException",
    "The request signature we calculated does not match the signature you provided.",
)


def fault_of(request: SignedRequest, credentials: Mapping[str, str], now: float) -> Fault | None:
    """Find what is wrong with a request's signature; None if it holds.

    Divergence: a signature in the query string (a presigned URL) is not looked for.
    """
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        return INCOMPLETE
    secret = credentials.get(found["key"])
    if secret is None:
        return UNKNOWN_KEY
    date, _, rest = found["scope"].partition("/")
    region, _, service = rest.partition("/")
    if service != f"{_SERVICE}/aws4_request":
        return WRONG_SCOPE
    stamp = request.headers.get("x-amz-date", "")
    if not stamp.startswith(date) or not _is_current(stamp, now):
        return EXPIRED
    to_sign = "\n".join(
        (_ALGORITHM, stamp, found["scope"], _digest(_canonical(request, found["headers"])))
    )
    key = f"AWS4{secret}".encode()
    for part in (date, region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return None if hmac.compare_digest(expected, found["signature"]) else MISMATCH


def _canonical(request: SignedRequest, signed_headers: str) -> str:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    query = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    headers = [
        f"{name}:{' '.join(request.headers.get(name, '').split())}\n"
        for name in signed_headers.split(";")
    ]
    return "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            signed_headers,
            hashlib.sha256(request.body).hexdigest(),
        )
    )


def _is_current(stamp: str, now: float) -> bool:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    return abs(signed_at.timestamp() - now) <= _SKEW_SECONDS


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
