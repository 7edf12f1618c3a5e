"""Names, namespaces, options, and who may do what."""

import pytest

from chalicelib.capabilities import Operation
from chalicelib.channels import Caller, Channels, shard_of
from chalicelib.errors import ClientError, ConfigError, ErrorCode

CHANNELS = Channels.parse(
    b"""{
      "without_namespace": {"allow_subscribe_for_client": true},
      "namespaces": [
        {"name": "open",
         "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
         "allow_publish_for_client": true, "allow_publish_for_anonymous": true},
        {"name": "club", "allow_publish_for_subscriber": true}
      ]
    }"""
)


@pytest.mark.parametrize(
    ("channel", "reason", "problem"),
    [
        ("", ErrorCode.BAD_REQUEST, "channel is required"),
        ("x" * 256, ErrorCode.BAD_REQUEST, "256 characters, at most 255"),
        ("a\x00b", ErrorCode.BAD_REQUEST, "printable ASCII"),
        ("caf\u00e9", ErrorCode.BAD_REQUEST, "printable ASCII"),
        ("nowhere:x", ErrorCode.UNKNOWN_CHANNEL, "no namespace 'nowhere'"),
        (":x", ErrorCode.UNKNOWN_CHANNEL, "no namespace ''"),
    ],
)
def test_an_unusable_name_says_what_is_wrong(channel: str, reason: ErrorCode, problem: str) -> None:
    with pytest.raises(ClientError) as raised:
        CHANNELS.options(channel)

    assert raised.value.reason is reason
    assert problem in raised.value.message


@pytest.mark.parametrize("channel", ["a", "x" * 255, "open:a:b", "with space", "~!#"])
def test_a_usable_name_has_options(channel: str) -> None:
    assert CHANNELS.options(channel).shards == 1


@pytest.mark.parametrize(
    ("channel", "user", "allowed"),
    [("a", "7", True), ("a", "", False), ("open:a", "", True), ("club:a", "7", False)],
)
def test_subscribing_is_allowed_by_option(channel: str, user: str, *, allowed: bool) -> None:
    if allowed:
        CHANNELS.may(Operation.SUBSCRIBE, channel, Caller(user))
    else:
        with pytest.raises(ClientError, match="103 permission denied"):
            CHANNELS.may(Operation.SUBSCRIBE, channel, Caller(user))


@pytest.mark.parametrize(
    ("channel", "user", "subscribed", "allowed"),
    [
        ("a", "7", True, False),
        ("open:a", "", False, True),
        ("open:a", "7", False, True),
        ("club:a", "7", True, True),
        ("club:a", "", True, False),
        ("club:a", "7", False, False),
    ],
)
def test_publishing_is_allowed_by_option(
    channel: str, user: str, *, subscribed: bool, allowed: bool
) -> None:
    if allowed:
        CHANNELS.may(Operation.PUBLISH, channel, Caller(user, subscribed))
    else:
        with pytest.raises(ClientError, match="103 permission denied"):
            CHANNELS.may(Operation.PUBLISH, channel, Caller(user, subscribed))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"nope", "malformed"),
        (b'{"namespaces": [{"name": "a", "histroy_size": 1}]}', "unknown field `histroy_size`"),
        (b'{"namespaces": [{}]}', "missing required field `name`"),
        (b'{"namespaces": [{"name": "a"}, {"name": "a"}]}', "'a' is defined twice"),
        (b'{"namespaces": [{"name": "a:b"}]}', "'a:b' is not usable"),
        (b'{"namespaces": [{"name": ""}]}', "'' is not usable"),
        (b'{"namespaces": [{"name": "a\\u0000"}]}', "is not usable"),
        (b'{"namespaces": [{"name": "#a"}]}', "'#a' is not usable"),
        (b'{"namespaces": [{"name": "$a"}]}', "'$a' is not usable"),
        (b'{"namespaces": [{"name": "a", "channel_regex": "("}]}', "'a'.channel_regex"),
        (b'{"without_namespace": {"shards": 0}}', "without_namespace.shards must be 1 to 256"),
        (b'{"without_namespace": {"previous_shards": 999}}', "previous_shards must be 0 to 256"),
        (b'{"without_namespace": {"history_size": 5}}', "history_size and history_ttl"),
        (b'{"without_namespace": {"history_ttl": "5"}}', "history_ttl"),
        (
            b'{"without_namespace": {"history_size": 1, "history_ttl": "2h",'
            b' "history_meta_ttl": "1h"}}',
            "history_meta_ttl must not be below history_ttl",
        ),
        (b'{"without_namespace": {"shards": "4"}}', "$.without_namespace.shards"),
    ],
)
def test_ill_formed_options_name_the_key(text: bytes, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Channels.parse(text)

    assert "CHANNELS" in str(raised.value)
    assert problem in str(raised.value)


def test_connections_spread_over_all_shards() -> None:
    assert {shard_of(f"connection-{n}", 4) for n in range(100)} == {0, 1, 2, 3}
