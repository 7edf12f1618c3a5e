"""The environment, checked."""

import json
from pathlib import Path

import pytest

from chalicelib.errors import ConfigError
from chalicelib.settings import Settings

CONFIG = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text())
LOCAL: dict[str, str] = CONFIG["stages"]["local"]["environment_variables"]


def test_the_local_stage_has_working_values_for_all() -> None:
    settings = Settings.parse(LOCAL)

    assert settings.api_keys.match("local-key")
    assert settings.tokens.checks_tokens
    assert settings.allow_anonymous


def test_several_api_keys_are_separated_by_commas() -> None:
    keys = Settings.parse({**LOCAL, "API_KEYS": "old, new,"}).api_keys

    assert keys.match("old")
    assert keys.match("new")
    assert keys.match("") is None


def test_other_stages_need_secrets_worth_the_name() -> None:
    key = "0123456789abcdef"
    Settings.parse({**LOCAL, "STAGE": "prod", "API_KEYS": key})

    with pytest.raises(ConfigError, match="TOKEN_HMAC_SECRET"):
        Settings.parse({**LOCAL, "STAGE": "prod", "API_KEYS": key, "TOKEN_HMAC_SECRET": ""})
    with pytest.raises(ConfigError, match="API_KEYS"):
        Settings.parse({**LOCAL, "STAGE": "prod"})


def test_channels_may_be_a_path_or_absent() -> None:
    named = Settings.parse({**LOCAL, "CHANNELS": "chalicelib/channels.json"})
    default = Settings.parse({**LOCAL, "CHANNELS": ""})

    assert not named.channels.options("x").allow_subscribe_for_client
    assert not default.channels.options("x").allow_subscribe_for_client


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("STAGE", "", "is missing and has no default"),
        ("TABLE", "", "is missing and has no default"),
        ("API_KEYS", " ", "is missing and has no default"),
        ("AWS_DEFAULT_REGION", "", "is missing and has no default"),
        ("ALLOW_ANONYMOUS", "maybe", "expected true or false, got 'maybe'"),
        ("PING", "9 minutes", "expected a duration such as 540s, or 0"),
        ("PING", "60s", "expected 0 or at least 120s"),
        ("MAX_CHANNELS", "0", "expected a whole number from 1, got '0'"),
        ("MAX_DATA_BYTES", "64k", "expected a whole number from 1, got '64k'"),
        ("CHANNELS", "{nope", "malformed"),
        ("LOG_LEVEL", "loud", "expected one of debug, info"),
        ("INGEST_CHANNELS", "[1]", "expected a JSON object"),
        ("CHANNELS", "no/such/file.json", "No such file"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Settings.parse({**LOCAL, key: value})

    assert raised.value.key == key
    assert problem in str(raised.value)
