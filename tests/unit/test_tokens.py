"""Connection and subscription tokens: what holds, and every way in which one does not."""

import base64
import hmac
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from chalicelib.capabilities import Operation
from chalicelib.errors import (
    ConfigError,
    KeysUnavailableError,
    TokenExpiredError,
    TokenInvalidError,
)
from chalicelib.tokens import (
    JWKS_BYTES,
    JWKS_FRESH_SECONDS,
    JWKS_REFETCH_SECONDS,
    JWKS_STALE_SECONDS,
    LEEWAY_SECONDS,
    TOKEN_CHARACTERS,
    Flag,
    TokenConfig,
    Verifier,
    fetch,
)

NOW = 1_800_000_000
SECRET = "s3cret-" * 10  # 70 bytes: enough for HS512
HMAC = TokenConfig(hmac_secret=SECRET)
JWKS_URL = "https://issuer.example/keys.json"


# -- Making tokens --------------------------------------------------------------------------------


@cache
def private_key(kind: str) -> Any:
    match kind:
        case "RSA" | "other RSA":
            return rsa.generate_private_key(65537, 2048)
        case "small RSA":
            return rsa.generate_private_key(65537, 1024)
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "P-521":
            return ec.generate_private_key(ec.SECP521R1())
        case "secp256k1":
            return ec.generate_private_key(ec.SECP256K1())
        case "DSA":
            return dsa.generate_private_key(2048)
    return ed25519.Ed25519PrivateKey.generate()


def pem(kind: str) -> str:
    public = private_key(kind).public_key()
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def jwk(kind: str, kid: str, **more: Any) -> dict[str, Any]:
    algorithm = {"P-256": "ES256", "Ed25519": "EdDSA"}.get(kind, "RS256")
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(private_key(kind).public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": kid, "use": "sig", **more}


def signed(
    claims: dict[str, Any], algorithm: str = "HS256", key: Any = SECRET, **header: Any
) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers=header)


def by_hand(
    header: object, payload: bytes, key: bytes = SECRET.encode(), hash_: str = "sha256"
) -> str:
    """A token of parts that no library would put together, with a right HMAC under ``key``."""
    head, body = (_base64(part) for part in (json.dumps(header).encode(), payload))
    return f"{head}.{body}.{_base64(hmac.digest(key, f'{head}.{body}'.encode(), hash_))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def verifier(config: TokenConfig = HMAC, now: float = NOW, **more: Any) -> Verifier:
    return Verifier(config, clock=lambda: now, **more)


# -- What holds -----------------------------------------------------------------------------------


def test_a_connection_token_says_who_its_connection_belongs_to() -> None:
    claims = verifier().connection(
        signed(
            {
                "sub": "42",
                "exp": NOW + 600,
                "iat": NOW - 1,
                "jti": "t1",
                "info": {"name": "Ada"},
                "meta": {"plan": "pro"},
                "channels": ["news", "chat:1"],
                "subs": {
                    "orders:42": {"info": {"n": 1}, "override": {"presence": {"value": True}}}
                },
                "caps": [{"channels": ["news:*"], "match": "wildcard", "allow": ["sub", "hst"]}],
                "something": "else",
            }
        )
    )

    assert (claims.sub, claims.exp, claims.iat, claims.jti) == ("42", NOW + 600, NOW - 1, "t1")
    assert claims.expire_at == NOW + 600
    assert bytes(claims.info or b"") == b'{"name":"Ada"}'
    assert bytes(claims.meta or b"") == b'{"plan":"pro"}'
    assert claims.channels == ("news", "chat:1")
    assert claims.subs["orders:42"].override is not None
    assert claims.subs["orders:42"].override.presence == Flag(value=True)
    assert claims.subs["orders:42"].override.join_leave is None
    assert bytes(claims.subs["orders:42"].info or b"") == b'{"n":1}'
    assert claims.caps.allows(Operation.HISTORY, "news:uk")
    assert not claims.caps.allows(Operation.PUBLISH, "news:uk")


def test_a_connection_token_need_not_hold_anything() -> None:
    claims = verifier().connection(signed({}))

    assert (claims.sub, claims.exp, claims.iat, claims.jti, claims.expire_at) == ("", 0, 0, "", 0)
    assert (claims.info, claims.meta, claims.channels, claims.subs) == (None, None, (), {})
    assert not claims.caps.rules


def test_a_subscription_token_holds_for_its_channel_and_user() -> None:
    token = signed(
        {
            "sub": "42",
            "channel": "chat:1",
            "exp": NOW + 60,
            "iat": NOW - 1,
            "jti": "t2",
            "b64info": base64.b64encode(b'{"role" : "owner"}').decode(),
            "override": {"force_recovery": {"value": True}},
        }
    )

    claims = verifier().subscription(token, channel="chat:1", user="42")

    assert (claims.channel, claims.sub, claims.exp, claims.expire_at) == (
        "chat:1",
        "42",
        NOW + 60,
        NOW + 60,
    )
    assert (claims.iat, claims.jti) == (NOW - 1, "t2")
    assert bytes(claims.info or b"") == b'{"role":"owner"}'
    assert claims.override is not None
    assert claims.override.force_recovery == Flag(value=True)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("RS256", "RSA"),
        ("RS384", "RSA"),
        ("RS512", "RSA"),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
        ("ES512", "P-521"),
        ("EdDSA", "Ed25519"),
    ],
)
def test_a_public_key_checks_the_algorithms_of_its_type(algorithm: str, kind: str) -> None:
    every_kind = "".join(map(pem, ("RSA", "P-256", "P-384", "P-521", "Ed25519")))
    token = signed({"sub": "42"}, algorithm, private_key(kind))

    assert verifier(TokenConfig(public_key=pem(kind))).connection(token).sub == "42"
    assert verifier(TokenConfig(public_key=every_kind)).connection(token).sub == "42"
    escaped = pem(kind).replace("\n", "\\n")
    assert verifier(TokenConfig(public_key=escaped)).connection(token).sub == "42"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_old_and_new_secret_hold_at_once(algorithm: str) -> None:
    new = "n" * 64
    both = verifier(TokenConfig(hmac_secret=f"{new}, {SECRET}"))

    assert both.connection(signed({"sub": "a"}, algorithm, SECRET)).sub == "a"
    assert both.connection(signed({"sub": "b"}, algorithm, new)).sub == "b"


@pytest.mark.parametrize(
    ("times", "expire_at"),
    [
        ({}, 0),
        ({"exp": NOW + 1}, NOW + 1),
        ({"exp": NOW + 1.9}, NOW + 1),
        ({"exp": NOW + 60, "expire_at": NOW + 9}, NOW + 9),
        ({"exp": NOW + 60, "expire_at": NOW + 900}, NOW + 900),
        ({"exp": NOW + 60, "expire_at": 0}, 0),
        ({"expire_at": NOW + 9}, NOW + 9),
        ({"nbf": NOW + LEEWAY_SECONDS, "iat": NOW + LEEWAY_SECONDS}, 0),
    ],
)
def test_expire_at_outdoes_exp_as_the_end_and_zero_is_never(
    times: dict[str, float], expire_at: int
) -> None:
    connection = verifier().connection(signed(times))
    subscription = verifier().subscription(signed({**times, "channel": "c"}), channel="c", user="")

    assert connection.expire_at == subscription.expire_at == expire_at


@pytest.mark.parametrize(
    "times",
    [
        {"exp": NOW},
        {"exp": NOW + 0.5},
        {"exp": 0},
        {"exp": NOW - 1, "expire_at": NOW + 60},
        {"exp": NOW - 1, "expire_at": 0},
        {"exp": NOW + 60, "expire_at": NOW},
    ],
)
def test_a_token_whose_time_has_passed_is_expired(times: dict[str, float]) -> None:
    with pytest.raises(TokenExpiredError):
        verifier().connection(signed(times))
    with pytest.raises(TokenExpiredError):
        verifier().subscription(signed({**times, "channel": "c"}), channel="c", user="")


@pytest.mark.parametrize("sub", ["John Doe ~", "auth0|5f7c", "a:b@c", "x" * 254])
def test_a_user_may_have_any_name_that_fits_a_channel(sub: str) -> None:
    assert verifier().connection(signed({"sub": sub})).sub == sub


@pytest.mark.parametrize("audience", ["carillon", ["other", "carillon"]])
def test_a_token_for_our_audience_of_our_issuer_holds(audience: object) -> None:
    config = replace(HMAC, audience="carillon", issuer="https://login.example/")
    token = signed({"sub": "42", "aud": audience, "iss": "https://login.example/"})

    assert verifier(config).connection(token).sub == "42"


def test_audience_and_issuer_are_not_looked_at_unless_set() -> None:
    assert verifier().connection(signed({"sub": "42", "aud": "x", "iss": "y"})).sub == "42"


# -- What does not --------------------------------------------------------------------------------

CLAIMS = json.dumps({"sub": "42"}).encode()


def alg_none() -> str:
    head = _base64(b'{"alg":"none","typ":"JWT"}')
    return f"{head}.{_base64(CLAIMS)}."


def tampered() -> str:
    head, _, signature = signed({"sub": "42"}).split(".")
    claims = _base64(b'{"sub":"1"}')
    return f"{head}.{claims}.{signature}"


FOREIGN: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "one part": lambda: "abc",
    "four parts": lambda: signed({}) + ".x",
    "only dots": lambda: "..",
    "not ASCII": lambda: "caf\u00e9.\ud800.x",
    "padding in the middle": lambda: "e=30.e30.AA",
    "a line break": lambda: signed({"sub": "42"}) + "\n",
    "alg none, unsigned": alg_none,
    "alg none, signed": lambda: by_hand({"alg": "none"}, CLAIMS),
    "alg None": lambda: by_hand({"alg": None}, CLAIMS),
    "alg of another case": lambda: by_hand({"alg": "hs256"}, CLAIMS),
    "alg missing": lambda: by_hand({"typ": "JWT"}, CLAIMS),
    "alg a list": lambda: by_hand({"alg": ["HS256"]}, CLAIMS),
    "alg an object": lambda: by_hand({"alg": {}}, CLAIMS),
    "header a list": lambda: by_hand(["HS256"], CLAIMS),
    "header nested too deeply": lambda: f"{_base64(b'[' * 4000)}.{_base64(CLAIMS)}.AAAA",
    "wrong secret": lambda: signed({"sub": "42"}, key="w" * 64),
    "tampered": tampered,
    "signature cut": lambda: signed({"sub": "42"})[:-4],
    "signature missing": lambda: signed({"sub": "42"}).rpartition(".")[0] + ".",
    "RS256, where only a secret is known": lambda: signed({}, "RS256", private_key("RSA")),
    "oversized": lambda: signed({"sub": "42", "info": "x" * TOKEN_CHARACTERS}),
    "critical header": lambda: by_hand({"alg": "HS256", "crit": ["exp"], "exp": 1}, CLAIMS),
    "detached payload": lambda: by_hand({"alg": "HS256", "b64": False, "crit": ["b64"]}, CLAIMS),
    "kid a number": lambda: by_hand({"alg": "HS256", "kid": 7}, CLAIMS),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_token_that_is_not_ours_is_invalid(name: str) -> None:
    token = FOREIGN[name]()

    with pytest.raises(TokenInvalidError) as raised:
        verifier().connection(token)
    with pytest.raises(TokenInvalidError):
        verifier().subscription(token, channel="c", user="42")

    assert_says_nothing_of(token, raised.value)


def assert_says_nothing_of(token: str, error: BaseException) -> None:
    seen: BaseException | None = error
    while seen:
        text = f"{seen} {seen!r}"
        assert SECRET not in text
        assert not any(part in text for part in token.split(".") if len(part) > 8)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
@pytest.mark.parametrize("hash_", ["sha256", "sha384", "sha512"])
def test_a_public_key_is_never_taken_for_a_secret(kind: str, hash_: str) -> None:
    """The public key is public: whoever could use it as an HMAC secret could be anybody."""
    algorithm = {"sha256": "HS256", "sha384": "HS384", "sha512": "HS512"}[hash_]
    both = verifier(TokenConfig(hmac_secret=SECRET, public_key=pem(kind)))
    for known_to_all in (pem(kind), pem(kind).strip(), pem(kind).replace("\n", "\\n")):
        token = by_hand({"alg": algorithm}, CLAIMS, known_to_all.encode(), hash_)

        for checks in (both, verifier(TokenConfig(public_key=pem(kind)))):
            with pytest.raises(TokenInvalidError):
                checks.connection(token)


def test_a_key_signs_in_the_algorithms_of_its_type_only() -> None:
    checks = verifier(TokenConfig(public_key=pem("P-256") + pem("RSA")))

    for header in ({"alg": "ES384"}, {"alg": "PS256"}, {"alg": "ES256K"}, {"alg": "EdDSA"}):
        with pytest.raises(TokenInvalidError):
            checks.connection(by_hand(header, CLAIMS))


def test_a_secret_shorter_than_the_hash_is_not_used_with_it() -> None:
    checks = verifier(TokenConfig(hmac_secret="s" * 32))

    assert checks.connection(by_hand({"alg": "HS256"}, CLAIMS, b"s" * 32)).sub == "42"
    with pytest.raises(TokenInvalidError):
        checks.connection(by_hand({"alg": "HS512"}, CLAIMS, b"s" * 32, "sha512"))


@pytest.mark.parametrize(
    "header", [{"jwk": {"kty": "oct", "k": "AAAA"}}, {"jku": "https://evil.example"}, {"x5u": "x"}]
)
def test_keys_that_a_token_brings_along_are_not_used(header: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalidError):
        verifier().connection(by_hand({"alg": "HS256", **header}, CLAIMS, b"\0\0\0"))


def test_without_keys_every_token_is_invalid() -> None:
    config = TokenConfig()

    assert not config.checks_tokens
    assert HMAC.checks_tokens
    assert TokenConfig(public_key=pem("RSA")).checks_tokens
    assert TokenConfig(jwks_url=JWKS_URL).checks_tokens
    with pytest.raises(TokenInvalidError):
        verifier(config).connection(signed({"sub": "42"}))


@pytest.mark.parametrize(
    "claims",
    [
        {"nbf": NOW + LEEWAY_SECONDS + 1},
        {"iat": NOW + LEEWAY_SECONDS + 1},
        {"nbf": NOW + 3600, "exp": NOW - 1},
        {"sub": 42},
        {"sub": None},
        {"sub": "J\u00fcrgen"},
        {"sub": "a\x00b"},
        {"sub": "1,2"},
        {"sub": "x#42"},
        {"sub": "x" * 255},
        {"exp": "1900000000"},
        {"exp": True},
        {"exp": -1},
        {"exp": 2**60},
        {"exp": [NOW + 60]},
        {"iat": "yesterday"},
        {"expire_at": -1},
        {"expire_at": "0"},
        {"jti": 7},
        {"jti": "x" * 256},
        {"aud": {}},
        {"aud": [1]},
        {"iss": ["a"]},
        {"b64info": "!"},
        {"b64info": _base64(b"\xff\xfe")},
        {"b64info": base64.b64encode(b"not JSON").decode()},
        {"b64info": base64.b64encode(b"[" * 5000).decode()},
        {"channels": "news"},
        {"channels": [7]},
        {"channels": [""]},
        {"channels": ["x" * 256]},
        {"subs": ["news"]},
        {"subs": {"news": []}},
        {"subs": {"": {}}},
        {"subs": {"news": {"override": {"presence": True}}}},
        {"subs": {"news": {"b64data": "!"}}},
        {"caps": {}},
        {"caps": [{}]},
        {"caps": [{"channels": [], "allow": ["sub"]}]},
        {"caps": [{"channels": ["a"], "allow": []}]},
        {"caps": [{"channels": ["a"], "allow": ["own"]}]},
        {"caps": [{"channels": ["a"], "allow": ["sub"], "match": "regex"}]},
        {"caps": [{"channels": ["a"], "allow": ["sub"], "deny": ["pub"]}]},
        {"caps": [{"channels": [f"{n}" * 200 for n in range(9)], "allow": ["sub"]}] * 6},
        {"channel": "news"},
        {"channel": ""},
        {"channel": None},
    ],
    ids=lambda claims: json.dumps(claims)[:60],
)
def test_a_connection_token_with_such_claims_is_invalid(claims: dict[str, Any]) -> None:
    token = by_hand({"alg": "HS256"}, json.dumps({"sub": "42", **claims}).encode())

    with pytest.raises(TokenInvalidError) as raised:
        verifier().connection(token)

    assert_says_nothing_of(token, raised.value)


@pytest.mark.parametrize(
    "claims",
    [
        {"channel": "chat:2"},
        {"channel": "chat:1 "},
        {"channel": "CHAT:1"},
        {"channel": ""},
        {"channel": None},
        {"channel": ["chat:1"]},
        {"sub": "43"},
        {"sub": ""},
        {"sub": "43", "exp": NOW - 1},
        {"client": "another"},
        {"override": {"presence": "yes"}},
        {"iat": NOW + 60},
    ],
)
def test_a_subscription_token_for_anything_else_is_invalid(claims: dict[str, Any]) -> None:
    payload = json.dumps({"sub": "42", "channel": "chat:1", **claims}).encode()
    token = by_hand({"alg": "HS256"}, payload)

    with pytest.raises(TokenInvalidError):
        verifier().subscription(token, channel="chat:1", user="42", client="this")


def test_a_refusal_names_the_claim_and_not_what_it_holds() -> None:
    with pytest.raises(TokenInvalidError) as raised:
        verifier().connection(signed({"caps": [{"channels": ["a"], "allow": ["s3cret"]}]}))

    assert (
        str(raised.value) == "the token has a claim of a wrong type or size: `$.caps[0].allow[0]`"
    )


def test_a_connection_token_is_no_subscription_token() -> None:
    with pytest.raises(TokenInvalidError, match="no `channel`"):
        verifier().subscription(signed({"sub": "42"}), channel="c", user="42")


def test_a_subscription_token_of_one_client_holds_for_that_one() -> None:
    token = signed({"channel": "c", "client": "this"})

    assert verifier().subscription(token, channel="c", user="", client="this").channel == "c"
    for_any = signed({"channel": "c"})
    assert verifier().subscription(for_any, channel="c", user="", client="this").channel == "c"
    with pytest.raises(TokenInvalidError):
        verifier().subscription(token, channel="c", user="")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"nope",
        b"[]",
        b"null",
        b'"x"',
        b'{"sub": "42"',
        b'{"sub": NaN}',
        b'{"exp": 1e999}',
        b'{"sub": "\xff"}',
        b'{"exp": ' + b"9" * 5000 + b"}",
        b'{"info": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'\xef\xbb\xbf{"sub": "42"}',
        b'{"sub": "42", "sub": "43"}',
        b'{"exp": 1, "info": {}, "exp": 1900000000}',
        b'{"caps": [], "info": {"a": 1}, "caps": []}',
    ],
)
def test_a_payload_that_two_readers_could_read_differently_is_invalid(payload: bytes) -> None:
    with pytest.raises(TokenInvalidError):
        verifier().connection(by_hand({"alg": "HS256"}, payload))


def test_a_name_may_stand_twice_inside_what_is_only_passed_on() -> None:
    claims = verifier().connection(by_hand({"alg": "HS256"}, b'{"info": {"a": 1, "a": 2}}'))

    assert bytes(claims.info or b"") == b'{"a":1,"a":2}'


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "us"},
        {"aud": "them", "iss": "us"},
        {"aud": ["them", ""], "iss": "us"},
        {"aud": [], "iss": "us"},
        {"aud": "Carillon", "iss": "us"},
        {"aud": "carillon"},
        {"aud": "carillon", "iss": "them"},
        {"aud": "carillon", "iss": "us/"},
        {"aud": "them", "iss": "us", "exp": NOW - 1},
    ],
)
def test_a_token_for_others_or_of_others_is_invalid_and_not_expired(claims: dict[str, Any]) -> None:
    checks = verifier(replace(HMAC, audience="carillon", issuer="us"))

    with pytest.raises(TokenInvalidError):
        checks.connection(signed({"sub": "42", **claims}))
    with pytest.raises(TokenInvalidError):
        checks.subscription(signed({"channel": "c", **claims}), channel="c", user="")


def test_an_oversized_token_is_refused_before_it_is_read() -> None:
    longest = by_hand({"alg": "HS256"}, json.dumps({"info": "x" * 12150}).encode())
    assert len(longest) <= TOKEN_CHARACTERS
    verifier().connection(longest)

    for length, problem in (
        (TOKEN_CHARACTERS, "not a JWT"),
        (TOKEN_CHARACTERS + 1, "at most 16384"),
    ):
        with pytest.raises(TokenInvalidError, match=problem):
            verifier().connection("." * length)


# -- Key sets -------------------------------------------------------------------------------------


class Issuer:
    """Publishes a key set, counts who asks, and can be down."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.document: bytes | None = json.dumps({"keys": keys}).encode()
        self.asked = 0
        self.now = float(NOW)
        self.config = TokenConfig(jwks_url=JWKS_URL, issuer="us")
        self.verifier = Verifier(self.config, clock=lambda: self.now, fetch=self._fetch)

    def _fetch(self, url: str) -> bytes:
        assert url == JWKS_URL
        self.asked += 1
        if self.document is None:
            raise KeysUnavailableError("down")
        return self.document

    def publish(self, *keys: dict[str, Any]) -> None:
        self.document = json.dumps({"keys": keys}).encode()

    def connect(self, kind: str, kid: str | None, algorithm: str = "RS256") -> str:
        header = {} if kid is None else {"kid": kid}
        claims = {"sub": "42", "iss": "us"}
        return self.verifier.connection(signed(claims, algorithm, private_key(kind), **header)).sub


def test_a_key_set_is_fetched_once_an_hour() -> None:
    issuer = Issuer(jwk("RSA", "1"), jwk("P-256", "2"), jwk("Ed25519", "3"))

    assert issuer.connect("RSA", "1") == "42"
    assert issuer.connect("RSA", "1", "RS512") == "42"
    assert issuer.connect("P-256", "2", "ES256") == "42"
    assert issuer.connect("Ed25519", "3", "EdDSA") == "42"
    issuer.now += JWKS_FRESH_SECONDS - 1
    issuer.connect("RSA", "1")
    assert issuer.asked == 1

    issuer.now += 1
    issuer.connect("RSA", "1")
    assert issuer.asked == 2


def test_a_new_key_is_found_and_a_withdrawn_one_ends() -> None:
    issuer = Issuer(jwk("RSA", "1"))
    issuer.connect("RSA", "1")

    issuer.publish(jwk("other RSA", "2"))
    issuer.now += JWKS_REFETCH_SECONDS
    assert issuer.connect("other RSA", "2") == "42"
    with pytest.raises(TokenInvalidError):
        issuer.connect("RSA", "1")


def test_unknown_key_ids_do_not_make_us_ask_more_often() -> None:
    issuer = Issuer(jwk("RSA", "1"))

    for attempt in range(50):
        with pytest.raises(TokenInvalidError):
            issuer.connect("RSA", f"no-{attempt}")
    assert issuer.asked == 1

    issuer.now += JWKS_REFETCH_SECONDS
    for attempt in range(50):
        with pytest.raises(TokenInvalidError):
            issuer.connect("RSA", f"no-{attempt}")
    assert issuer.asked == 2
    assert issuer.connect("RSA", "1") == "42"


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "../../../dev/null",
        "/proc/self/environ",
        "https://evil.example/keys.json",
        "1' OR '1'='1",
        "1\x00",
        "x" * 10_000,
        None,
    ],
)
def test_a_key_id_finds_a_key_of_the_set_or_nothing(kid: str | None) -> None:
    issuer = Issuer(jwk("RSA", "1"), jwk("RSA", ""))

    with pytest.raises(TokenInvalidError, match="names a key"):
        issuer.connect("RSA", kid)
    assert issuer.asked == (kid is not None)


def test_a_key_id_means_nothing_to_a_public_key() -> None:
    token = signed({"sub": "42"}, "RS256", private_key("RSA"), kid="1")

    assert verifier(TokenConfig(public_key=pem("RSA"))).connection(token).sub == "42"


@pytest.mark.parametrize("kid", [1, True, ["1"], {"$ne": ""}])
def test_a_key_id_that_is_no_text_is_invalid(kid: object) -> None:
    issuer = Issuer(jwk("RSA", "1"))

    with pytest.raises(TokenInvalidError):
        issuer.verifier.connection(by_hand({"alg": "RS256", "kid": kid}, CLAIMS))
    assert issuer.asked == 0


def test_a_key_of_the_set_checks_what_it_is_published_for() -> None:
    issuer = Issuer(
        jwk("RSA", "encrypts", use="enc"),
        jwk("RSA", "RS512 only", alg="RS512"),
        jwk("RSA", "encrypts too", alg="RSA-OAEP"),
        jwk("small RSA", "small"),
        {"kty": "oct", "kid": "secret", "k": _base64(SECRET.encode())},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": 7},
        {"kty": "strange", "kid": "strange"},
    )

    assert issuer.connect("RSA", "RS512 only", "RS512") == "42"
    for kind, kid in (
        ("RSA", "encrypts"),
        ("RSA", "RS512 only"),
        ("RSA", "encrypts too"),
        ("RSA", "broken"),
        ("RSA", "strange"),
    ):
        with pytest.raises(TokenInvalidError):
            issuer.connect(kind, kid)
    for header in ({"alg": "HS256", "kid": "secret"}, {"alg": "HS256", "kid": "RS512 only"}):
        with pytest.raises(TokenInvalidError):
            issuer.verifier.connection(by_hand(header, b'{"iss": "us"}'))


def test_a_key_set_that_cannot_be_had_says_nothing_of_the_token() -> None:
    issuer = Issuer()
    issuer.document = None

    for _ in range(3):
        with pytest.raises(KeysUnavailableError):
            issuer.connect("RSA", "1")
    assert issuer.asked == 1

    issuer.publish(jwk("RSA", "1"))
    issuer.now += JWKS_REFETCH_SECONDS
    assert issuer.connect("RSA", "1") == "42"


def test_an_old_key_set_serves_for_a_day_while_its_issuer_is_down() -> None:
    issuer = Issuer(jwk("RSA", "1"))
    issuer.connect("RSA", "1")
    issuer.document = None

    issuer.now += JWKS_STALE_SECONDS - 1
    assert issuer.connect("RSA", "1") == "42"
    with pytest.raises(KeysUnavailableError):
        issuer.connect("RSA", "perhaps new")
    issuer.now += 1
    with pytest.raises(KeysUnavailableError):
        issuer.connect("RSA", "1")


def test_a_key_set_of_any_size_is_not_read() -> None:
    issuer = Issuer(jwk("RSA", "1"))
    document = issuer.document or b""

    issuer.document = document.ljust(JWKS_BYTES)
    assert issuer.connect("RSA", "1") == "42"
    issuer.now += JWKS_STALE_SECONDS
    issuer.document = document.ljust(JWKS_BYTES + 1)
    with pytest.raises(KeysUnavailableError):
        issuer.connect("RSA", "1")


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b'{"keys": {}}', b"[" * 100_000],
    ids=lambda document: document[:10].decode(),
)
def test_an_answer_that_is_no_key_set_counts_as_none(document: bytes) -> None:
    issuer = Issuer()
    issuer.document = document

    with pytest.raises(KeysUnavailableError):
        issuer.connect("RSA", "1")


def test_a_secret_still_holds_beside_a_key_set_that_is_down() -> None:
    def down(_url: str) -> bytes:
        raise KeysUnavailableError("down")

    checks = verifier(TokenConfig(hmac_secret=SECRET, jwks_url=JWKS_URL, issuer="us"), fetch=down)

    assert checks.connection(signed({"sub": "42", "iss": "us"}, kid="1")).sub == "42"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/gone": 404, "/moved": 302}.get(self.path, 200))
        self.send_header("Location", "/keys")
        self.end_headers()
        self.wfile.write(b" " * (JWKS_BYTES + 100) if self.path == "/endless" else b'{"keys":[]}')

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_key_set_is_fetched_without_following_redirects() -> None:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        try:
            assert fetch(f"{base}/keys") == b'{"keys":[]}'
            assert len(fetch(f"{base}/endless")) == JWKS_BYTES + 1
            for path in ("gone", "moved"):
                with pytest.raises(KeysUnavailableError, match="HTTPError"):
                    fetch(f"{base}/{path}")
        finally:
            server.shutdown()
    with pytest.raises(KeysUnavailableError):
        fetch(f"{base}/keys")


# -- Settings -------------------------------------------------------------------------------------


def private_pem(kind: str) -> str:
    key = private_key(kind)
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def many_settings() -> list[tuple[str, dict[str, str], str]]:
    return [
        ("TOKEN_HMAC_SECRET", {"hmac_secret": "s" * 31}, "31 bytes, at least 32"),
        ("TOKEN_HMAC_SECRET", {"hmac_secret": f"{SECRET},short"}, "5 bytes, at least 32"),
        ("TOKEN_HMAC_SECRET", {"hmac_secret": pem("RSA")}, "another kind"),
        ("TOKEN_HMAC_SECRET", {"hmac_secret": '{"kty": "oct", "k": "x"}' * 3}, "another kind"),
        ("TOKEN_PUBLIC_KEY", {"public_key": "nope"}, "expected PEM"),
        ("TOKEN_PUBLIC_KEY", {"public_key": private_pem("RSA")}, "private key"),
        ("TOKEN_PUBLIC_KEY", {"public_key": pem("RSA").replace("M", "!")}, "not a PEM public key"),
        ("TOKEN_PUBLIC_KEY", {"public_key": pem("small RSA")}, "RSA of 2048 bits"),
        ("TOKEN_PUBLIC_KEY", {"public_key": pem("secp256k1")}, "not a key for tokens"),
        ("TOKEN_PUBLIC_KEY", {"public_key": pem("DSA")}, "not a key for tokens"),
        ("TOKEN_JWKS_URL", {"jwks_url": "http://issuer.example/", "issuer": "us"}, "https"),
        ("TOKEN_JWKS_URL", {"jwks_url": "file:///etc/passwd", "issuer": "us"}, "https"),
        ("TOKEN_JWKS_URL", {"jwks_url": "issuer.example", "issuer": "us"}, "https"),
        ("TOKEN_JWKS_URL", {"jwks_url": "https://u:p4ss@h/", "issuer": "us"}, "password"),
        ("TOKEN_JWKS_URL", {"jwks_url": "https://user@h/", "issuer": "us"}, "password"),
        ("TOKEN_JWKS_URL", {"jwks_url": "https://:p4ss@h/", "issuer": "us"}, "password"),
        ("TOKEN_JWKS_URL", {"jwks_url": "https:///keys", "issuer": "us"}, "https"),
        ("TOKEN_JWKS_URL", {"jwks_url": "https://[::1", "issuer": "us"}, "not a URL"),
        ("TOKEN_AUDIENCE", {"jwks_url": JWKS_URL}, "needed beside TOKEN_JWKS_URL"),
    ]


@pytest.mark.parametrize("case", range(len(many_settings())))
def test_a_setting_that_cannot_be_used_is_named_and_not_shown(case: int) -> None:
    setting, values, problem = many_settings()[case]
    config = TokenConfig(**values)

    with pytest.raises(ConfigError) as raised:
        verifier(config)

    assert raised.value.key == setting
    assert problem in str(raised.value)
    shown = f"{raised.value} {raised.value!r}"
    assert "p4ss" not in shown
    assert config.hmac_secret not in shown or not config.hmac_secret


def test_a_key_set_needs_an_audience_or_an_issuer() -> None:
    verifier(TokenConfig(jwks_url=JWKS_URL, audience="carillon"))
    verifier(TokenConfig(jwks_url=JWKS_URL, issuer="us"))


def test_http_is_for_this_machine_only() -> None:
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        verifier(TokenConfig(jwks_url=f"http://{host}/keys", issuer="us"))


def test_a_secret_is_not_in_any_repr() -> None:
    assert SECRET not in repr(HMAC)
    assert SECRET not in repr(vars(verifier()))


def test_claims_can_be_kept_as_json() -> None:
    claims = verifier().connection(signed({"info": {"a": [1, "\u2028"]}}))

    assert msgspec.json.decode(msgspec.json.encode(claims.info)) == {"a": [1, "\u2028"]}


def test_importing_the_app_does_not_import_what_checks_tokens() -> None:
    code = (
        "import sys, chalicelib.tokens as t;"
        "t.Verifier(t.TokenConfig(hmac_secret='s' * 32), clock=lambda: 0);"
        "heavy = {'jwt', 'cryptography', 'http.client', 'urllib.request'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_recipe_in_the_docs_makes_tokens_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    recipe: dict[str, Any] = {}
    monkeypatch.setenv("TOKEN_HMAC_SECRET", f"{SECRET},the old one")
    exec(text.split("```python\n")[1].split("```")[0], recipe)
    token = recipe["connection_token"]("42")
    issued = jwt.decode(token, options={"verify_signature": False})["iat"]
    checks = verifier(now=issued)

    connection = checks.connection(token)
    assert connection.sub == "42"
    assert connection.expire_at == issued + 600
    assert connection.caps.allows(Operation.SUBSCRIBE, "news:uk")
    subscription = recipe["subscription_token"]("42", "chat:1")
    assert checks.subscription(subscription, channel="chat:1", user="42").channel == "chat:1"


def test_the_docs_name_tests_that_exist() -> None:
    root = Path(__file__).parents[1]
    proofs = (root.parent / "docs" / "security.md").read_text().partition("## What proves it")[2]
    for path, names in re.findall(r"`((?:unit|fuzz)/\w+\.py)`((?:[:,] `\w+`)*)", proofs):
        source = (root / path).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert name in source, f"{path} has no {name}"
