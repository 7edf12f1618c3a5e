"""The management API's paths and answers."""

import json

import pytest

from localgateway import management
from localgateway.management import Target, target_of


@pytest.mark.parametrize("escaped", ["X2hB7d6KoAMCLzA=", "X2hB7d6KoAMCLzA%3D"])
def test_38_an_id_may_be_percent_encoded(escaped: str) -> None:
    assert target_of(f"/api/@connections/{escaped}") == Target("api", "X2hB7d6KoAMCLzA=")


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/@connections", "/a/b/@connections/x", "/api/@connections/x/y"]
)
def test_other_paths_are_not_management(path: str) -> None:
    assert target_of(path) is None


def test_38_gone_is_told_by_a_header_and_has_no_body() -> None:
    assert management.GONE.status == 410
    assert management.GONE.body == b""
    assert management.GONE.headers == {"x-amzn-ErrorType": "GoneException"}


def test_39_a_malformed_id_is_named() -> None:
    answer = management.bad_id("abc")

    assert answer.status == 400
    assert answer.body == b'{"message":"Invalid connectionId: abc"}'
    assert answer.headers["x-amzn-ErrorType"] == "BadRequestException"


def test_42_a_description_is_spelled_as_aws_spells_it() -> None:
    answer = management.described({"sourceIp": "1.2.3.4"}, 1605442994.726, 1605442994.9729)

    assert answer.body.decode() == (
        '{\n  "identity" : {\n    "sourceIp" : "1.2.3.4",\n    "userAgent" : null\n  },\n'
        '  "connectedAt" : "2020-11-15T12:23:14.726Z",\n'
        '  "lastActiveAt" : "2020-11-15T12:23:14.972Z"\n}'
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (410, "GoneException"),
        (429, "LimitExceededException"),
        (500, "InternalServerErrorException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_45_injected_failures_are_spelled_like_real_ones(status: int, error: str) -> None:
    answer = management.failed(status)

    assert answer.status == status
    assert answer.headers["x-amzn-ErrorType"] == error
    if status != 410:
        assert set(json.loads(answer.body)) == {"message"}
