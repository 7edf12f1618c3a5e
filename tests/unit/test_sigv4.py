"""Our signatures are botocore's, byte for byte."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.auth  # noqa: TID251 - the reference
import pytest
from botocore.awsrequest import AWSRequest  # noqa: TID251 - the reference
from botocore.credentials import Credentials as BotoCredentials  # noqa: TID251 - the reference
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.transport.sigv4 import Credentials, Signer, Target, credentials_from

ENDPOINTS = (
    "https://abc.execute-api.eu-west-1.amazonaws.com/api",
    "http://127.0.0.1:8001/api/",
    "https://push.example.org",
    "http://[::1]:8001/a%20b/~c",
)
NOW = 1_700_000_000.0
IDENTITY = Credentials("AKIDEXAMPLE", "secret", None)

well_formed = st.from_regex(r"[A-Za-z0-9_-]{15}=", fullmatch=True)
segments = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)


@dataclass(frozen=True)
class Signing:
    """What decides a signature, but for the request."""

    secret: str
    token: str | None
    now: int  # seconds since 1970


@contextmanager
def botocore_clock(now: int) -> Iterator[None]:
    """Have botocore sign at ``now``; it has no argument for it."""
    auth: Any = botocore.auth
    real = auth.get_current_datetime
    moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(tzinfo=None)
    auth.get_current_datetime = lambda **_: moment
    try:
        yield
    finally:
        auth.get_current_datetime = real


def split(request: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """Return method, path, header fields and body of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, version = first.split(" ")
    assert version == "HTTP/1.1"
    return method, path, dict(line.split(": ", 1) for line in lines), body


@given(
    url=st.sampled_from(ENDPOINTS),
    method=st.sampled_from(["POST", "GET", "DELETE"]),
    connection_id=well_formed | segments,
    body=st.binary(max_size=300),
    signing=st.builds(Signing, keys, st.none() | keys, st.integers(0, 4_000_000_000)),
)
def test_signature_is_botocores(
    url: str, method: str, connection_id: str, body: bytes, signing: Signing
) -> None:
    """For every endpoint, id, body, key, token and date."""
    target = Target.of(url)
    signer = Signer(target, Credentials("AKID", signing.secret, signing.token), "eu-west-1")
    signer.at(signing.now)

    request = signer.request(method, connection_id, body if method == "POST" else None)

    _, path, ours, sent = split(request)
    theirs = AWSRequest(
        method, f"{'https' if target.tls else 'http'}://{target.host}{path}", data=sent
    )
    with botocore_clock(signing.now):
        boto = BotoCredentials("AKID", signing.secret, signing.token)
        botocore.auth.SigV4Auth(boto, "execute-api", "eu-west-1").add_auth(theirs)
    assert ours["Authorization"] == theirs.headers["Authorization"]
    assert ours["X-Amz-Date"] == theirs.headers["X-Amz-Date"]
    assert ours.get("X-Amz-Security-Token") == theirs.headers.get("X-Amz-Security-Token")


def test_one_signer_signs_alike_over_days_and_bodies() -> None:
    """What is cached between requests is renewed when it has to be."""
    target = Target.of(ENDPOINTS[0])
    signer = Signer(target, IDENTITY, "eu-west-1")

    for now in (NOW, NOW + 0.5, NOW + 1, NOW + 90_000, NOW):
        signer.at(now)
        for body in (b"a", b"b", b"a", *(b"%d" % n for n in range(40))):
            fresh = Signer(target, IDENTITY, "eu-west-1")
            fresh.at(now)

            assert signer.request("POST", "id=", body) == fresh.request("POST", "id=", body)


def test_request_looks_like_boto3s() -> None:
    """The id is escaped, the ``@`` is not, and a body has its length."""
    signer = Signer(Target.of(ENDPOINTS[0]), IDENTITY, "eu-west-1")
    signer.at(NOW)

    method, path, fields, body = split(signer.request("POST", "X2hB7d6KoAMCLzA=", b"hello"))

    assert (method, path) == ("POST", "/api/@connections/X2hB7d6KoAMCLzA%3D")
    assert fields["Host"] == "abc.execute-api.eu-west-1.amazonaws.com"
    assert fields["Content-Length"] == "5"
    assert body == b"hello"


@pytest.mark.parametrize("connection_id", ["..", ".", "a/../b", "a\r\nX: y", "?x=#y", "é", "%2F"])
def test_no_id_leaves_its_path_segment(connection_id: str) -> None:
    """Whatever an id contains, the request is to that one segment of the path."""
    signer = Signer(Target.of(ENDPOINTS[0]), IDENTITY, "eu-west-1")
    signer.at(NOW)

    _, path, fields, _ = split(signer.request("DELETE", connection_id, None))

    prefix, _, segment = path.rpartition("/")
    assert prefix == "/api/@connections"
    assert not set(segment) & set("?#\r\n /") and segment not in (".", "..")
    assert set(fields) == {"Host", "X-Amz-Date", "Authorization"}


@pytest.mark.parametrize(
    "url",
    ["", "abc.example.org/api", "ftp://x/api", "https:///api", "http://x/?q=1", "http://x/a b"],
)
def test_an_endpoint_that_is_none_is_refused_by_name(url: str) -> None:
    """The message says which URL it was."""
    with pytest.raises(ValueError, match="not a management endpoint") as caught:
        Target.of(url)

    assert repr(url) in str(caught.value)


def test_credentials_are_read_anew_from_the_mapping() -> None:
    """They rotate: each call sees what is there now."""
    environ = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T"}
    credentials = credentials_from(environ)

    before = credentials()
    environ.update(AWS_ACCESS_KEY_ID="B", AWS_SESSION_TOKEN="")

    assert before == Credentials("A", "S", "T")
    assert credentials() == Credentials("B", "S", None)


def test_credentials_hide_their_secret() -> None:
    """A log line that holds them shows neither secret nor token."""
    shown = repr(Credentials("AKIDEXAMPLE", "hush", "token"))

    assert "hush" not in shown and "token" not in shown


def test_credentials_fall_back_to_botocores_chain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without keys in the mapping, a profile's file is found as boto3 finds it."""
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = FILE\naws_secret_access_key = S\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    assert credentials_from({})() == Credentials("FILE", "S", None)
