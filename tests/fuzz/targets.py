"""What must hold for any bytes at all: a function a parser, which fails when it does not.

The random tests (test_fuzz.py), the kept inputs (corpus/) and the fuzzer (harness.py) share them.
"""

import base64
import hmac
import json
from collections.abc import Callable, Mapping, Sequence

import msgspec

from chalicelib import limits
from chalicelib.capabilities import Capabilities, Operation
from chalicelib.channels import Caller, Channels, Config, Namespace, Options, users
from chalicelib.errors import (
    ClientError,
    ErrorCode,
    KeysUnavailableError,
    TokenExpiredError,
    TokenInvalidError,
)
from chalicelib.protocol import action, centrifuge, choose
from chalicelib.protocol.commands import COMMANDS, Dialect, Reply, Request
from chalicelib.tokens import ConnectionClaims, TokenConfig, Verifier

NOW = 1_800_000_000
SECRET = "a secret that only tests know of 64 bytes " + "0123456789" * 2


def _text(data: bytes) -> str:
    """Any text that a Lambda event can hold, lone surrogates included."""
    return data.decode(errors="surrogateescape")


# -- Protocol decoders ----------------------------------------------------------------------------


def centrifuge_frame(data: bytes) -> None:
    _check_frame(centrifuge.DIALECT, _text(data))


def action_frame(data: bytes) -> None:
    _check_frame(action.DIALECT, _text(data))


def _check_frame(dialect: Dialect, text: str) -> None:
    """Every frame is understood, or answered with what is wrong with it, in what fits a post."""
    assert choose("", text) in (centrifuge.DIALECT, action.DIALECT)
    said = dialect.decode(text)
    for one in said:
        assert 0 <= one.id < 2**32
        if isinstance(one, Request):
            assert type(one.command) in COMMANDS.values()
        else:
            assert isinstance(one.answer, ClientError)
            assert one.answer.reason is ErrorCode.BAD_REQUEST
    _check_replies(dialect, [one for one in said if isinstance(one, Reply)])


def _check_replies(dialect: Dialect, replies: Sequence[Reply]) -> None:
    for frame in dialect.frames(replies):
        assert len(frame) <= limits.MESSAGE_BYTES
        for line in frame.decode().split("\n"):
            assert isinstance(json.loads(line), dict)


# -- Channels -------------------------------------------------------------------------------------

_NAMES = [name for name in Options.__struct_fields__ if name.startswith("allow_")]
_FOR_CLIENTS = {name: True for name in _NAMES if not name.endswith("_for_anonymous")}
_SHUT = Channels(Config(Options(), (Namespace(name="ns"),)))
_OPEN = Channels(
    msgspec.convert(
        {
            "without_namespace": {**_FOR_CLIENTS, "channel_regex": "^[^!]*$"},
            "namespaces": [{**_FOR_CLIENTS, "name": "ns"}],
        },
        Config,
    )
)


def channel_name(data: bytes) -> None:
    """A name, a line break and a user: no pair gets in by options that are not for it."""
    channel, _, user = _text(data).partition("\n")
    for operation in Operation:
        assert not _may(_SHUT, operation, channel, Caller(user))
        assert not _may(_OPEN, operation, channel, Caller())
        if _may(_OPEN, operation, channel, Caller(user)):
            assert 1 <= len(channel) <= limits.CHANNEL_CHARACTERS
            assert channel.isascii()
            assert channel.isprintable()
            assert not channel.startswith("$")
            assert "#" not in channel or user in users(channel)


def _may(channels: Channels, operation: Operation, channel: str, caller: Caller) -> bool:
    try:
        channels.may(operation, channel, caller)
    except ClientError as error:
        refusals = {
            ErrorCode.UNKNOWN_CHANNEL,
            ErrorCode.PERMISSION_DENIED,
            ErrorCode.BAD_REQUEST,
        }
        assert error.reason in refusals
        assert len(error.message) < 1000
        return False
    return True


# -- Tokens ---------------------------------------------------------------------------------------

_REFUSED = (TokenInvalidError, TokenExpiredError)


def token(data: bytes) -> None:
    """The first byte says what the rest is: a token, its header, its claims, or a key set."""
    kinds = {b"T": _any_text, b"H": _any_header, b"C": _any_claims, b"K": _any_key_set}
    kinds.get(data[:1], _any_text)(data[1:])


def _verifier(fetch: Callable[[str], bytes] = lambda _url: b'{"keys": []}') -> Verifier:
    config = TokenConfig(
        hmac_secret=SECRET, jwks_url="https://issuer.example/", issuer="https://issuer.example"
    )
    return Verifier(config, clock=lambda: NOW, fetch=fetch)


def signed(header: bytes, claims: bytes) -> str:
    head, body = _base64(header), _base64(claims)
    signature = hmac.digest(SECRET.encode(), f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _any_text(data: bytes) -> None:
    _check_token(_text(data))


def _any_header(data: bytes) -> None:
    _check_token(signed(data, b'{"iss": "https://issuer.example"}'))


def _any_claims(data: bytes) -> None:
    _check_token(signed(b'{"alg":"HS256"}', data))


def _check_token(text: str) -> None:
    try:
        _check_claims(_verifier().connection(text))
    except _REFUSED as error:
        _check_silence(error, text)
    try:
        claims = _verifier().subscription(text, channel="chat:1", user="42")
        assert (claims.channel, claims.sub) == ("chat:1", "42")
        assert claims.expire_at == 0 or claims.expire_at > NOW
    except _REFUSED as error:
        _check_silence(error, text)


def _check_claims(claims: ConnectionClaims) -> None:
    assert not set(claims.sub) & set("#,")
    assert users("#" + claims.sub) == frozenset({claims.sub} - {""})
    assert claims.expire_at == 0 or claims.expire_at > NOW
    assert claims.exp == 0 or claims.exp > NOW
    assert len(claims.jti.encode()) <= 1024
    for raw in (claims.info, claims.meta, *(subs.info for subs in claims.subs.values())):
        if raw is not None:
            assert b"\n" not in bytes(raw)
            json.loads(bytes(raw).decode())
    for channel in (*claims.channels, *claims.subs):
        assert 1 <= len(channel) <= limits.CHANNEL_CHARACTERS
    assert Capabilities.from_json(claims.caps.to_json()) == claims.caps


def _check_silence(error: Exception, text: str) -> None:
    assert error.__cause__ is None
    assert len(str(error)) < 200
    assert not any(part in str(error) for part in text.split(".") if len(part) > 16)


def _any_key_set(data: bytes) -> None:
    head = b'{"alg":"RS256","kid":"1"}'
    text = f"{_base64(head)}.{_base64(b'{}')}.{_base64(b'x' * 256)}"
    try:
        _verifier(lambda _url: data).connection(text)
    except (TokenInvalidError, KeysUnavailableError):
        return
    raise AssertionError("a signature of 256 letters was taken")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "centrifuge": centrifuge_frame,
    "action": action_frame,
    "channel": channel_name,
    "token": token,
}
