"""Signatures are checked against those that botocore makes."""

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from botocore.auth import SigV4Auth  # noqa: TID251 - the signer that is not ours
from botocore.awsrequest import AWSRequest  # noqa: TID251 - likewise
from botocore.credentials import Credentials  # noqa: TID251 - likewise

from localgateway import signing
from localgateway.signing import SignedRequest, fault_of

KNOWN = {"AKIDEXAMPLE": "secret"}
PATH = "/api/@connections/X2hB7d6KoAMCLzA%3D"


def signed(
    *,
    body: bytes = b"hello",
    query: str = "",
    service: str = "execute-api",
) -> tuple[SignedRequest, float]:
    """Sign a request as boto3 does, with the clock that botocore itself reads."""
    url = f"http://127.0.0.1:8001{PATH}" + (f"?{query}" if query else "")
    request = AWSRequest("POST", url, data=body)
    SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), service, "us-east-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    stamp = headers["x-amz-date"]
    now = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    return SignedRequest("POST", PATH, query, headers | {"host": "127.0.0.1:8001"}, body), now


@pytest.mark.parametrize("query", ["", "b=2&a=1&a=0", "a=%20x%2F&empty="])
@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\0"])
def test_44_a_true_signature_holds(body: bytes, query: str) -> None:
    request, now = signed(body=body, query=query)

    assert fault_of(request, KNOWN, now) is None


def test_44_any_change_breaks_the_signature() -> None:
    request, now = signed()
    for changed in (
        replace(request, method="DELETE"),
        replace(request, path="/api/@connections/X2hB7d6KoAMCLzB%3D"),
        replace(request, query="a=1"),
        replace(request, body=b"other"),
        replace(request, headers={**request.headers, "host": "elsewhere"}),
    ):
        assert fault_of(changed, KNOWN, now) == signing.MISMATCH

    assert fault_of(request, {"AKIDEXAMPLE": "other"}, now) == signing.MISMATCH


def test_44_what_cannot_be_a_signature_of_ours_is_named() -> None:
    request, now = signed()
    bare = replace(request, headers={**request.headers, "authorization": "Bearer x"})
    no_date = replace(
        request, headers={**request.headers, "x-amz-date": request.headers["x-amz-date"][:8]}
    )

    assert fault_of(bare, KNOWN, now) == signing.INCOMPLETE
    assert fault_of(request, {}, now) == signing.UNKNOWN_KEY
    assert fault_of(request, KNOWN, now + 301) == signing.EXPIRED
    assert fault_of(request, KNOWN, now - 301) == signing.EXPIRED
    assert fault_of(no_date, KNOWN, now) == signing.EXPIRED
    other, now = signed(service="s3")
    assert fault_of(other, KNOWN, now) == signing.WRONG_SCOPE
