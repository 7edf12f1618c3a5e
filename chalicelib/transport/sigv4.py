"""AWS Signature Version 4 for the management API, at one HMAC a request.

Everything that a batch has in common is hashed once: the signing key once a day, the start of the
string to sign once a second. The signatures are botocore's, byte for byte; a property test says so.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

SERVICE = "execute-api"
_ALGORITHM = "AWS4-HMAC-SHA256"
_BLOCK = 64  # bytes, of SHA-256: RFC 2104's B
_BODIES = 16  # distinct bodies that are remembered; a batch has one a dialect
_sha256 = hashlib.sha256
_EMPTY = _sha256().hexdigest()
_WELL_FORMED = re.compile("[A-Za-z0-9_-]+=").fullmatch  # ids as API Gateway makes them
_PATH = re.compile("[A-Za-z0-9/._~!$&'()*+,;=:@%-]*").fullmatch  # RFC 3986


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AWS identity as of now. It is not shown by ``repr``."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key[:4]}…)"


def credentials_from(environ: Mapping[str, str]) -> Callable[[], Credentials]:
    """Return what reads the credentials anew at each call, since they rotate.

    From ``environ`` where it has them, as on Lambda; elsewhere from botocore's provider chain,
    which is imported only then (0.1 s). Raises ``LookupError`` from the call if there are none.
    """
    chain: list[Callable[[], Credentials]] = []

    def current() -> Credentials:
        access_key, secret_key = (
            environ.get("AWS_ACCESS_KEY_ID"),
            environ.get("AWS_SECRET_ACCESS_KEY"),
        )
        if access_key and secret_key:
            return Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or None)
        if not chain:
            chain.append(_provider_chain())
        return chain[0]()

    return current


def _provider_chain() -> Callable[[], Credentials]:
    import botocore.session  # noqa: TID251 - only where the environment has no credentials

    source = botocore.session.get_session().get_credentials()
    if source is None:
        raise LookupError("no AWS credentials: neither in the environment nor in botocore's chain")

    def current() -> Credentials:
        frozen = source.get_frozen_credentials()  # refreshes them when they are about to expire
        return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    return current


@dataclass(frozen=True, slots=True)
class Target:
    """Where a management endpoint listens.

    ``host`` is what the Host header says; ``path`` leads to ``@connections`` and has no slash at
    its end.
    """

    tls: bool
    hostname: str
    port: int
    host: str
    path: str

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read ``https://{api}.execute-api.{region}.amazonaws.com/{stage}``, or http and any host.

        Raises ``ValueError`` naming the URL if it is not such a URL.
        """
        parts = urlsplit(url)
        default = {"https": 443, "http": 80}.get(parts.scheme)
        if (
            default is None
            or not parts.hostname
            or not _PATH(parts.path)
            or "?" in url
            or "#" in url
        ):
            raise ValueError(f"not a management endpoint (http[s]://host[:port]/stage): {url!r}")
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = parts.port or default
        host = name if port == default else f"{name}:{port}"
        return cls(parts.scheme == "https", parts.hostname, port, host, parts.path.rstrip("/"))


class Signer:
    """Writes the signed requests of one batch: one target, one identity.

    ``at`` must be called before the first request and whenever time has passed: AWS refuses a
    signature that is five minutes old.
    """

    def __init__(self, target: Target, credentials: Credentials, region: str) -> None:
        self._target = target
        self._credentials = credentials
        self._region = region
        self._path = f"{target.path}/@connections/"
        self._canonical_path = quote(self._path, safe="/~")
        self._second = -1
        self._day = ""
        self._of_bodies: dict[bytes | None, tuple[str, bytes]] = {}
        token = credentials.session_token
        self._signed = "host;x-amz-date" + (";x-amz-security-token" if token else "")
        self._token_line = f"x-amz-security-token:{token}\n" if token else ""
        self._token_field = f"X-Amz-Security-Token: {token}\r\n" if token else ""

    def at(self, now: float) -> None:
        """Date the requests that follow; ``now`` in seconds since 1970, UTC."""
        if int(now) == self._second:
            return
        self._second = int(now)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._second))
        day = stamp[:8]
        scope = f"{day}/{self._region}/{SERVICE}/aws4_request"
        if day != self._day:
            self._day = day
            key = signing_key(self._credentials.secret_key, day, self._region, SERVICE)
            self._inner_key, self._outer = _hmac_states(key)
        self._inner = self._inner_key.copy()
        self._inner.update(f"{_ALGORITHM}\n{stamp}\n{scope}\n".encode())
        fields = f"host:{self._target.host}\nx-amz-date:{stamp}\n{self._token_line}"
        self._canonical_tail = f"\n\n{fields}\n{self._signed}\n"
        self._of_bodies.clear()
        self._head = (
            f" HTTP/1.1\r\nHost: {self._target.host}\r\nX-Amz-Date: {stamp}\r\n{self._token_field}"
            f"Authorization: {_ALGORITHM} Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={self._signed}, Signature="
        )

    def request(self, method: str, connection_id: str, body: bytes | None) -> bytes:
        """Return the whole request to ``@connections/{connection_id}``, ready for the wire.

        ``body`` is None for a method that has none.
        """
        if _WELL_FORMED(connection_id):
            segment, canonical = connection_id[:-1] + "%3D", connection_id[:-1] + "%253D"
        else:
            segment = _segment(connection_id)
            canonical = segment.replace("%", "%25")
        tail, after = self._of_bodies.get(body) or self._of_body(body)
        canonical = f"{method}\n{self._canonical_path}{canonical}{tail}"
        inner = self._inner.copy()
        inner.update(_sha256(canonical.encode()).hexdigest().encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        head = f"{method} {self._path}{segment}{self._head}{outer.hexdigest()}"
        return head.encode() + after

    def _of_body(self, body: bytes | None) -> tuple[str, bytes]:
        """Return what a body adds to the canonical request, and to the request, at their ends.

        A bytes object keeps its hash, so finding them again costs next to nothing.
        """
        if len(self._of_bodies) >= _BODIES:
            self._of_bodies.clear()
        tail = self._canonical_tail + (_sha256(body).hexdigest() if body else _EMPTY)
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        found = self._of_bodies[body] = tail, f"\r\n{length}\r\n".encode() + (body or b"")
        return found


def signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """Derive the key that signs for one day (``YYYYMMDD``), region and service."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        inner, outer = _hmac_states(key)
        inner.update(part.encode())
        outer.update(inner.digest())
        key = outer.digest()
    return key


def _hmac_states(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Return HMAC-SHA256's inner and outer hash, keyed (RFC 2104).

    Copying the two costs a third of ``hmac.digest``, which keys them again each time.
    """
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
    return inner, outer


def _segment(connection_id: str) -> str:
    """Percent-encode as botocore does; ``.`` and ``..`` too, lest they climb out of the path."""
    if connection_id in (".", ".."):
        return connection_id.replace(".", "%2E")
    return quote(connection_id, safe="-_.~")
