"""Who may call the HTTP API."""

import pytest

from chalicelib.apikeys import KEY_CHARACTERS, ApiKeys
from chalicelib.errors import ConfigError

OLD, NEW, NEWS = "old-key-0123456789", "new-key-0123456789", "news-key-012345678"
KEYS = ApiKeys.parse(f"{OLD}, {NEW} ,{NEWS}:news:*,{NEWS}:sport:results,")


@pytest.mark.parametrize("key", [OLD, NEW])
def test_a_key_without_a_pattern_opens_everything(key: str) -> None:
    grant = KEYS.match(key)

    assert grant is not None
    assert grant.everything
    assert grant.touches("anything:at all")
    assert grant.touches("#42")


@pytest.mark.parametrize(
    ("channel", "touched"),
    [
        ("news:uk", True),
        ("sport:results", True),
        ("sport:other", False),
        ("news", False),
        ("news:dialog#1,2", False),
    ],
)
def test_a_key_with_patterns_opens_their_channels(channel: str, *, touched: bool) -> None:
    grant = KEYS.match(NEWS)

    assert grant is not None
    assert not grant.everything
    assert grant.touches(channel) is touched


def test_a_key_that_stands_with_and_without_a_pattern_opens_everything() -> None:
    grant = ApiKeys.parse(f"{OLD}:news:*,{OLD}").match(OLD)

    assert grant is not None
    assert grant.everything


@pytest.mark.parametrize(
    "presented",
    ["", " ", OLD[:-1], OLD + "x", OLD.upper(), f"{NEWS}:news:*", f"{OLD},{NEW}", "\ud800", "\x00"],
)
def test_anything_else_is_no_key(presented: str) -> None:
    assert KEYS.match(presented) is None


def test_keys_have_names_that_do_not_give_them_away() -> None:
    names = {grant.name for key in (OLD, NEW, NEWS) if (grant := KEYS.match(key))}

    assert len(names) == 3
    assert not any(key in f"{KEYS!r}{names}" for key in (OLD, NEW, NEWS))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is missing"),
        (" , ", "is missing"),
        (f"{OLD},short-key", f"entry 2 of 2: the key has 9 characters, at least {KEY_CHARACTERS}"),
        (f"{OLD}:", "entry 1 of 1: no channel pattern"),
        (":news:*", "entry 1 of 1: the key has 0 characters"),
        ("two words and more", "entry 1 of 1: a key is printable ASCII without spaces"),
        ("caf\u00e9-0123456789012", "entry 1 of 1: a key is printable ASCII"),
        (f"{OLD}:{'x' * 256}", "entry 1 of 1: the pattern has more than 255"),
    ],
)
def test_a_wrong_entry_is_named_by_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ApiKeys.parse(text)

    assert raised.value.key == "API_KEYS"
    assert problem in str(raised.value)
    assert "short-key" not in str(raised.value)


def test_a_key_and_a_pattern_may_be_as_long_as_that() -> None:
    key = "!~".ljust(KEY_CHARACTERS, "x")

    assert ApiKeys.parse(f"{key}:{'x' * 255}").match(key)


def test_stage_local_may_have_a_short_key_but_some() -> None:
    assert ApiKeys.parse("local-key", min_characters=1).match("local-key")
    with pytest.raises(ConfigError):
        ApiKeys.parse(":news", min_characters=0)
