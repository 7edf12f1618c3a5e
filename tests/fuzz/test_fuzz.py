"""The fuzzer's targets under random and under kept inputs, in seconds; bin/fuzz takes minutes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.protocol.commands import COMMANDS
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for name in TARGETS for path in (CORPUS / name).iterdir())

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_words = st.sampled_from(["id", "channel", "data", "method", "token", "batch", "action", *COMMANDS])
_fields = st.dictionaries(_words | st.text(max_size=3), _json, max_size=4)
_frames = st.lists(
    st.fixed_dictionaries({"id": st.integers(-1, 2**33)})
    | st.dictionaries(_words, _fields | _json, max_size=3)
    | _fields,
    max_size=4,
).map(lambda objects: "\n".join(map(json.dumps, objects)).encode())

_times = st.integers(1_799_999_000, 1_800_001_000) | _json
_claims = st.fixed_dictionaries(
    {"iss": st.just("https://issuer.example")},
    optional={
        "sub": st.sampled_from(["", "42", "1,2", "#"]) | _json,
        "channel": st.just("chat:1") | _json,
        "exp": _times,
        "nbf": _times,
        "iat": _times,
        "expire_at": st.just(0) | _times,
        "jti": _json,
        "aud": _json,
        "info": _json,
        "b64info": st.sampled_from(["e30=", "e30", "/w=="]) | _json,
        "meta": _json,
        "channels": st.lists(st.text(max_size=300), max_size=3) | _json,
        "subs": st.dictionaries(st.text(max_size=3), _fields, max_size=2) | _json,
        "caps": st.lists(
            st.fixed_dictionaries(
                {
                    "channels": st.lists(st.text(max_size=300), max_size=2) | _json,
                    "allow": st.lists(st.sampled_from(["sub", "pub", "x"]), max_size=2) | _json,
                },
                optional={"match": st.sampled_from(["exact", "wildcard", "regex"]) | _json},
            ),
            max_size=2,
        )
        | _json,
    },
)
_names = st.text("abns:#$,!*1 \n", max_size=12)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_kept_input_is_handled(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_handled(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", ["centrifuge", "action"])
@given(frame=_frames)
def test_any_frame_is_handled(target: str, frame: bytes) -> None:
    TARGETS[target](frame)


@given(channel=_names, user=_names)
def test_any_channel_is_handled(channel: str, user: str) -> None:
    TARGETS["channel"](f"{channel}\n{user}".encode())


@given(claims=_claims)
def test_any_claims_are_handled(claims: dict[str, object]) -> None:
    TARGETS["token"](b"C" + json.dumps(claims).encode())


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), _json))
def test_any_header_is_handled(header: dict[str, object]) -> None:
    TARGETS["token"](b"H" + json.dumps({"alg": "HS256", **header}).encode())


@given(entries=st.lists(_fields | st.fixed_dictionaries({"kid": st.just("1"), "kty": _json})))
def test_any_key_set_is_handled(entries: list[object]) -> None:
    TARGETS["token"](b"K" + json.dumps({"keys": entries}).encode())


@pytest.mark.parametrize("target", ["centrifuge", "action"])
def test_a_deeply_nested_frame_is_handled(target: str) -> None:
    nested = "[" * 5000 + "]" * 5000

    TARGETS[target](f'{{"action":"x","id":1,"rpc":{{"data":{nested}}}}}'.encode())
