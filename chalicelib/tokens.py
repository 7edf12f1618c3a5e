"""Connection and subscription tokens: JWTs with Centrifugo's claims.

https://centrifugal.dev/docs/server/authentication
https://centrifugal.dev/docs/server/channel_token_auth

The algorithm is never the token's choice: each key has a type, the type has its algorithms, and
a token is only tried with keys that its algorithm belongs to. `jku`, `jwk`, `x5u` and `x5c` are
not read. Nothing here raises or prints any part of a token or a secret: causes are cut off
(`from None`), as PyJWT and cryptography quote what they could not read.

PyJWT and cryptography take a quarter of a second to import, so that is done by the first token.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from chalicelib import limits, logs
from chalicelib.capabilities import Capabilities, Rule
from chalicelib.errors import (
    ConfigError,
    KeysUnavailableError,
    TokenExpiredError,
    TokenInvalidError,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_T = TypeVar("_T", bound="_Claims")

# Characters of a token. A token and its command share one frame of 32 KB (limits.FRAME_BYTES), and
# a refused token must cost little: nothing of a longer one is decoded.
TOKEN_CHARACTERS = 16 * 1024
# Seconds by which the clock of whoever signs may be ahead of ours, for `nbf` and `iat`. `exp` has
# none: a connection has a grace of its own.
LEEWAY_SECONDS = 10
# Bytes of a secret by algorithm: as many as the hash has. https://www.rfc-editor.org/rfc/rfc7518#section-3.2
SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
# Bits of an RSA key. https://www.rfc-editor.org/rfc/rfc7518#section-3.3
RSA_BITS = 2048
# https://www.rfc-editor.org/rfc/rfc7518#section-3.4
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA = frozenset({"RS256", "RS384", "RS512"})
_PUBLIC_ALGORITHMS = {*_RSA, *_CURVES.values(), "EdDSA"}

# Seconds after which a key set is fetched again, so that withdrawn keys end; and for which the
# old one still serves if that fails.
JWKS_FRESH_SECONDS = 60 * 60
JWKS_STALE_SECONDS = 24 * 60 * 60
# Seconds between two fetches at least, whatever key ids tokens name: strangers can send tokens.
JWKS_REFETCH_SECONDS = 30
# Seconds that a fetch may wait for the other side, and bytes that it may bring (real sets have
# two to ten keys of up to 3 KB each, certificates included).
JWKS_TIMEOUT_SECONDS = 3
JWKS_BYTES = 256 * 1024

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """Plain values, as the settings hold them; empty: not used.

    Attributes:
        hmac_secret: For HS256/384/512; several, separated by commas, while one replaces another.
        public_key: PEM, for RS*, ES* or EdDSA; several blocks one after another.
        jwks_url: Where the issuer publishes its keys.
        audience: What `aud` must be or hold.
        issuer: What `iss` must be.
    """

    hmac_secret: str = field(default="", repr=False)
    public_key: str = ""
    jwks_url: str = ""
    audience: str = ""
    issuer: str = ""

    @property
    def checks_tokens(self) -> bool:
        """Whether there is any key; without one every token is refused."""
        return bool(self.hmac_secret or self.public_key or self.jwks_url)


# -- Claims ---------------------------------------------------------------------------------------


class Flag(msgspec.Struct, frozen=True):
    """Centrifugo's BoolValue: set, to true or to false."""

    value: bool = False


class Override(msgspec.Struct, frozen=True):
    """Channel options that hold differently for one subscription."""

    presence: Flag | None = None
    join_leave: Flag | None = None
    force_recovery: Flag | None = None
    force_positioning: Flag | None = None
    force_push_join_leave: Flag | None = None


class SubscribeOptions(msgspec.Struct, frozen=True):
    """What the `subs` claim says of one channel; JSON on one line each, None: not given."""

    info: msgspec.Raw | None = None
    data: msgspec.Raw | None = None
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class ConnectionClaims:
    """A connection token that holds. Times are seconds since the epoch, 0: not given.

    Attributes:
        sub: The user, fit to name a personal channel; empty: anonymous.
        expire_at: When the connection ends unless it is refreshed; 0: never.
        info: JSON on one line, shown to other clients; ``meta`` is not.
        channels: What the connection is put into at once, and so are those in ``subs``.
    """

    sub: str
    exp: int
    iat: int
    jti: str
    expire_at: int
    info: msgspec.Raw | None
    meta: msgspec.Raw | None
    channels: tuple[str, ...]
    subs: Mapping[str, SubscribeOptions]
    caps: Capabilities


@dataclass(frozen=True, slots=True)
class SubscriptionClaims:
    """A subscription token that holds for the channel and the user. Times as above."""

    channel: str
    sub: str
    exp: int
    iat: int
    jti: str
    expire_at: int
    info: msgspec.Raw | None
    override: Override | None


# RFC 7519's NumericDate; a double holds every second up to the bound.
_Time = Annotated[float, msgspec.Meta(ge=0, le=2**53)]
_Channel = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.CHANNEL_CHARACTERS)]
_Raw = msgspec.Raw  # any JSON, unread
_NONE = msgspec.Raw()


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What both kinds hold, as it stands in the token."""

    sub: str = ""
    exp: _Time | None = None
    nbf: _Time | None = None
    iat: _Time | None = None
    expire_at: _Time | None = None
    # It becomes a table key (revocation), of which DynamoDB takes 1 KB.
    jti: Annotated[str, msgspec.Meta(max_length=255)] = ""
    aud: str | list[str] | None = None
    iss: str | None = None
    info: _Raw = _NONE
    b64info: str = ""

    @property
    def ends(self) -> int:
        """`expire_at` where it is given (0: never), else `exp`."""
        return int((self.exp or 0) if self.expire_at is None else self.expire_at)


class _Subs(msgspec.Struct, frozen=True):
    info: _Raw = _NONE
    b64info: str = ""
    data: _Raw = _NONE
    b64data: str = ""
    override: Override | None = None


class _Connection(_Claims, frozen=True, kw_only=True):
    channel: _Raw = _NONE
    channels: tuple[_Channel, ...] = ()
    subs: dict[_Channel, _Subs] = {}
    meta: _Raw = _NONE
    caps: tuple[Rule, ...] = ()


class _Subscription(_Claims, frozen=True, kw_only=True):
    channel: _Channel | None = None
    client: str = ""
    override: Override | None = None


# -- Keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Key:
    """A key, the algorithms that it may be used with, and its id in the key set, if it has one."""

    material: bytes | PublicKey = field(repr=False)
    algorithms: frozenset[str]
    kid: str = ""


class _Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The public part of a key of a key set; `oct` and private members are left behind."""

    kty: str
    kid: str = ""
    use: str = ""
    alg: str = ""
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


class _JwkSet(msgspec.Struct, frozen=True):
    keys: list[_Raw]


def _secrets(text: str) -> tuple[_Key, ...]:
    setting, keys = "TOKEN_HMAC_SECRET", []
    for secret in filter(None, map(str.strip, text.split(","))):
        if secret.startswith(("-----BEGIN", "ssh-", "{")):
            raise ConfigError(setting, "is a key of another kind; TOKEN_PUBLIC_KEY takes PEM")
        material = secret.encode(errors="surrogatepass")
        fit = {name for name, least in SECRET_BYTES.items() if len(material) >= least}
        if not fit:
            least = f"at least {min(SECRET_BYTES.values())}; a comma separates two secrets"
            raise ConfigError(setting, f"has {len(material)} bytes, {least}")
        keys.append(_Key(material, frozenset(fit)))
    return tuple(keys)


def _public_keys(text: str) -> tuple[_Key, ...]:
    if not text.strip():
        return ()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    setting = "TOKEN_PUBLIC_KEY"
    text = text.replace("\\n", "\n")  # how line breaks are often put into an environment
    if "PRIVATE KEY-----" in text:
        raise ConfigError(setting, "holds a private key; only the public one belongs here")
    blocks = re.findall(r"-----BEGIN [^-]+-----.*?-----END [^-]+-----", text, re.DOTALL)
    keys = []
    for block in blocks:
        try:
            key = _key(load_pem_public_key(block.encode()))
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError(setting, "is not a PEM public key") from None
        if key is None:
            wanted = f"RSA of {RSA_BITS} bits, P-256, P-384, P-521 or Ed25519"
            raise ConfigError(setting, f"is not a key for tokens: expected {wanted}")
        keys.append(key)
    if not keys:
        raise ConfigError(setting, "expected PEM: -----BEGIN PUBLIC KEY-----")
    return tuple(keys)


def _key(material: object, kid: str = "") -> _Key | None:
    """A public key with the algorithms that its type allows; None: no type of ours."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    match material:
        case RSAPublicKey() if material.key_size >= RSA_BITS:
            return _Key(material, _RSA, kid)
        case EllipticCurvePublicKey() if material.curve.name in _CURVES:
            return _Key(material, frozenset({_CURVES[material.curve.name]}), kid)
        case Ed25519PublicKey():
            return _Key(material, frozenset({"EdDSA"}), kid)
    return None


class _KeySet:
    """The keys that an issuer publishes, kept for an hour and found by id."""

    def __init__(self, url: str, *, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._lock = Lock()
        self._keys: tuple[_Key, ...] = ()
        self._failing = False
        self._fetched_at = self._tried_at = float("-inf")

    def named(self, kid: str) -> list[_Key]:
        """The keys of that id, fetching the set if it is old or has none, and not just tried.

        Raises: KeysUnavailableError when there is no set, or none new, to look into.
        """
        with self._lock:  # who comes during a fetch waits for it
            found = self._find(kid)
            if not found or self._age() >= JWKS_FRESH_SECONDS:
                self._refresh()
                found = self._find(kid)
            if self._age() >= JWKS_STALE_SECONDS or (self._failing and not found):
                raise KeysUnavailableError("TOKEN_JWKS_URL does not answer with a key set")
            return found

    def _find(self, kid: str) -> list[_Key]:
        return [key for key in self._keys if key.kid == kid]

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _refresh(self) -> None:
        """Fetch, unless that was tried just now. What fails leaves the old set, while it serves."""
        now = self._clock()
        if now - self._tried_at < JWKS_REFETCH_SECONDS:
            return
        self._tried_at = now
        try:
            self._keys = _read_key_set(self._fetch(self._url))
        except KeysUnavailableError as error:
            self._failing = True
            logs.warning("key_set_not_refreshed", problem=str(error))
        else:
            self._failing = False
            self._fetched_at = now


def _read_key_set(document: bytes) -> tuple[_Key, ...]:
    """The keys that can be used; others are ignored, as RFC 7517 section 5 wants it.

    Raises: KeysUnavailableError when it is no key set.
    """
    import jwt

    if len(document) > JWKS_BYTES:
        raise KeysUnavailableError(f"the key set has more than {JWKS_BYTES} bytes")
    try:
        entries = msgspec.json.decode(document, type=_JwkSet).keys
    except (msgspec.MsgspecError, RecursionError):
        raise KeysUnavailableError("TOKEN_JWKS_URL does not answer with a key set") from None
    keys = []
    for entry in entries:
        try:
            jwk = msgspec.json.decode(entry, type=_Jwk)
            if jwk.kty in ("RSA", "EC", "OKP") and jwk.kid and jwk.use in ("", "sig"):
                material = jwt.PyJWK(msgspec.to_builtins(jwk)).key
                if key := _key(material, jwk.kid):
                    fit = key.algorithms & {jwk.alg} if jwk.alg else key.algorithms
                    keys.append(replace(key, algorithms=fit))
        except (msgspec.MsgspecError, jwt.PyJWTError, ValueError):
            continue
    return tuple(keys)


def _checked_url(url: str) -> str:
    setting, loopback = "TOKEN_JWKS_URL", ("localhost", "127.0.0.1", "::1")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ConfigError(setting, "is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(setting, "holds a user or a password")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in loopback)):
        raise ConfigError(setting, "expected https:// and a host")
    return url


def fetch(url: str) -> bytes:
    """GET a key set, following no redirect: they can lead to plain HTTP or inside a network.

    Raises: KeysUnavailableError.
    """
    from http.client import HTTPException
    from urllib.request import HTTPRedirectHandler, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    try:
        with build_opener(Stay).open(_checked_url(url), timeout=JWKS_TIMEOUT_SECONDS) as response:
            document: bytes = response.read(JWKS_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise KeysUnavailableError(f"TOKEN_JWKS_URL: {type(error).__name__}") from error
    return document


# -- Verifying ------------------------------------------------------------------------------------


class Verifier:
    """Tells a token of ours from anything else; safe to share between threads."""

    def __init__(
        self, config: TokenConfig, *, clock: Callable[[], float], fetch: Fetch = fetch
    ) -> None:
        """Raises: ConfigError, which names the setting."""
        self._keys = _secrets(config.hmac_secret) + _public_keys(config.public_key)
        self._key_set = None
        if config.jwks_url:
            if not (config.audience or config.issuer):
                problem = "is needed beside TOKEN_JWKS_URL (or TOKEN_ISSUER): its owner signs for"
                raise ConfigError("TOKEN_AUDIENCE", f"{problem} others, too")
            self._key_set = _KeySet(_checked_url(config.jwks_url), fetch=fetch, clock=clock)
        self._audience = config.audience
        self._issuer = config.issuer
        self._clock = clock

    def connection(self, token: str) -> ConnectionClaims:
        """Who a connection belongs to.

        Raises: TokenInvalidError, TokenExpiredError, KeysUnavailableError.
        """
        claims = _decode(self._payload(token), _Connection)
        if bytes(claims.channel):
            raise TokenInvalidError("is a subscription token: it has `channel`")
        self._check(claims)
        try:
            caps = Capabilities.of(claims.caps)
        except ValueError as error:
            raise TokenInvalidError(str(error)) from None
        return ConnectionClaims(
            sub=claims.sub,
            exp=int(claims.exp or 0),
            iat=int(claims.iat or 0),
            jti=claims.jti,
            expire_at=claims.ends,
            info=_json("info", claims.info, claims.b64info),
            meta=_json("meta", claims.meta),
            channels=claims.channels,
            subs={channel: _options(subs) for channel, subs in claims.subs.items()},
            caps=caps,
        )

    def subscription(
        self, token: str, *, channel: str, user: str, client: str = ""
    ) -> SubscriptionClaims:
        """What a token says of a user's subscription to a channel.

        A token with Centrifugo's old `client` claim holds for that client alone.
        Raises: TokenInvalidError, also for another channel, user or client; TokenExpiredError,
            KeysUnavailableError.
        """
        claims = _decode(self._payload(token), _Subscription)
        if claims.channel is None:
            raise TokenInvalidError("is no subscription token: it has no `channel`")
        if claims.channel != channel:
            raise TokenInvalidError("is for another channel")
        if claims.sub != user:
            raise TokenInvalidError("is for another user")
        if claims.client and claims.client != client:
            raise TokenInvalidError("is for another client")
        self._check(claims)
        return SubscriptionClaims(
            channel=channel,
            sub=claims.sub,
            exp=int(claims.exp or 0),
            iat=int(claims.iat or 0),
            jti=claims.jti,
            expire_at=claims.ends,
            info=_json("info", claims.info, claims.b64info),
            override=claims.override,
        )

    def _payload(self, token: str) -> bytes:
        """The claims as they were signed, once the signature is found good."""
        if len(token) > TOKEN_CHARACTERS:
            raise TokenInvalidError(f"has {len(token)} characters, at most {TOKEN_CHARACTERS}")
        if not token.isascii():
            raise TokenInvalidError("is not a JWT")
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenInvalidError("is not a JWT") from None
        for key in self._candidates(header):
            try:
                payload: bytes = jwt.PyJWS().decode(
                    token, key.material, algorithms=sorted(key.algorithms)
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError:
                raise TokenInvalidError("is not a JWT") from None
            return payload
        raise TokenInvalidError("is not signed with a key of ours")

    def _candidates(self, header: dict[str, Any]) -> list[_Key]:
        """The keys that a token of this header may be signed with.

        A key id only ever finds a key in the set that was fetched; it is no name of anything else.
        """
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str):
            raise TokenInvalidError("names no algorithm")
        keys = [key for key in self._keys if algorithm in key.algorithms]
        if self._key_set and isinstance(kid, str) and algorithm in _PUBLIC_ALGORITHMS:
            keys += [key for key in self._key_set.named(kid) if algorithm in key.algorithms]
        if not keys:
            raise TokenInvalidError("is of an algorithm, or names a key, that is not ours")
        return keys

    def _check(self, claims: _Claims) -> None:
        """Everything else before the time, so that no foreign token is told to come back newer."""
        if not _names_a_user(claims.sub):
            raise TokenInvalidError(
                f"`sub` must be printable ASCII without # and comma, at most {_USER_CHARACTERS}"
            )
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if self._audience and self._audience not in audience:
            raise TokenInvalidError("is for another audience")
        if self._issuer and self._issuer != claims.iss:
            raise TokenInvalidError("is of another issuer")
        now = self._clock()
        if max(claims.nbf or 0, claims.iat or 0) > now + LEEWAY_SECONDS:
            raise TokenInvalidError("is not valid yet")
        if (claims.exp is not None and int(claims.exp) <= now) or 0 < claims.ends <= now:
            raise TokenExpiredError("the token has expired")


# A user's personal channel is `#` and the user.
_USER_CHARACTERS = limits.CHANNEL_CHARACTERS - 1


def _names_a_user(sub: str) -> bool:
    """Whether `#<sub>` is a channel, and of nobody else: `#1,2` would be open to users 1 and 2."""
    printable = all(" " <= character <= "~" for character in sub)
    return printable and len(sub) <= _USER_CHARACTERS and not set(sub) & set("#,")


def _decode(payload: bytes, kind: type[_T]) -> _T:
    """The claims, typed. A name that stands twice is refused: two readers might differ on it."""
    names: list[str] = []

    def remember(pairs: list[tuple[str, object]]) -> None:
        names[:] = [name for name, _ in pairs]  # the outermost object comes last

    try:
        json.loads(payload.decode(), object_pairs_hook=remember)
        claims = msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        # Only the place: the rest of the sentence may quote the claim.
        place = str(error).rpartition(" - at ")[2] if " - at " in str(error) else "`$`"
        raise TokenInvalidError(f"has a claim of a wrong type or size: {place}") from None
    except (ValueError, RecursionError):
        raise TokenInvalidError("does not hold JSON") from None
    if len(names) != len(set(names)):
        raise TokenInvalidError("has a claim twice")
    return claims


def _options(subs: _Subs) -> SubscribeOptions:
    return SubscribeOptions(
        info=_json("info", subs.info, subs.b64info),
        data=_json("data", subs.data, subs.b64data),
        override=subs.override,
    )


def _json(name: str, raw: msgspec.Raw, in_base64: str = "") -> msgspec.Raw | None:
    """JSON on one line, from itself or (which wins, as in Centrifugo) from base64; None: neither.

    Bytes that are not JSON, which Centrifugo takes for its Protobuf clients, cannot be sent here.
    """
    try:
        text = base64.b64decode(in_base64, validate=True) if in_base64 else bytes(raw)
        text.decode()
        line = msgspec.json.format(text, indent=-1) if text else b"null"
    except (ValueError, RecursionError):
        raise TokenInvalidError(f"has no JSON in `{name}` or `b64{name}`") from None
    return None if line == b"null" else msgspec.Raw(line)
