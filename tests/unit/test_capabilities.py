"""Rules that a token brings along: union, wildcards, and how they are kept."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.capabilities import (
    CAPABILITIES_BYTES,
    Capabilities,
    Match,
    Operation,
    Rule,
    matches,
)

SUB, PUB, HST = Operation.SUBSCRIBE, Operation.PUBLISH, Operation.HISTORY


def test_rules_are_a_union() -> None:
    capabilities = Capabilities.of(
        [
            Rule(("news",), (SUB,)),
            Rule(("n*",), (PUB,), Match.WILDCARD),
            Rule(("news",), (HST,)),
        ]
    )

    assert [o.value for o in Operation if capabilities.allows(o, "news")] == ["sub", "pub", "hst"]
    assert [o.value for o in Operation if capabilities.allows(o, "nw")] == ["pub"]
    assert not Capabilities().allows(SUB, "news")


def test_a_star_means_nothing_in_an_exact_rule() -> None:
    exact = Rule(("n*", "#42"), (SUB,))

    assert exact.allows(SUB, "n*")
    assert exact.allows(SUB, "#42")
    assert not exact.allows(SUB, "news")


@pytest.mark.parametrize(
    ("pattern", "channel", "fits"),
    [
        ("news:*", "news:uk", True),
        ("news:*", "news:", True),
        ("news:*", "news", False),
        ("news:*", "xnews:uk", False),
        ("*", "anything at:all", True),
        ("*", "", True),
        ("*:uk", "news:uk", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("?", "a", False),
        ("*", "#42", False),
        ("chat:*", "chat:dialog#1,2", False),
        ("chat:*#*", "chat:dialog#1,2", True),
        ("#*", "#42", True),
        ("*#1,*", "a#b#1,2", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_a_star_stands_for_anything_but_a_user_boundary(
    pattern: str, channel: str, *, fits: bool
) -> None:
    assert matches(pattern, channel) is fits


@given(st.text("ab#*", max_size=8), st.text("ab#", max_size=10))
def test_matching_is_that_of_the_regular_expression(pattern: str, channel: str) -> None:
    expression = "[^#]*".join(map(re.escape, pattern.split("*")))

    assert matches(pattern, channel) == bool(re.fullmatch(expression, channel))


def test_many_stars_take_no_time() -> None:
    assert not matches("*a" * 120 + "b", "a" * 255)


_rules = st.lists(
    st.builds(
        Rule,
        st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3).map(tuple),
        st.lists(st.sampled_from(Operation), min_size=1, max_size=4).map(tuple),
        st.sampled_from(Match),
    ),
    max_size=4,
)


@given(_rules)
def test_what_is_kept_is_what_comes_back(rules: list[Rule]) -> None:
    capabilities = Capabilities.of(rules)

    assert Capabilities.from_json(capabilities.to_json()) == capabilities
    assert "\n" not in capabilities.to_json()


def test_rules_are_kept_compactly() -> None:
    text = Capabilities.of([Rule(("news:*",), (SUB, HST), Match.WILDCARD)]).to_json()

    assert text == '[{"channels":["news:*"],"allow":["sub","hst"],"match":"wildcard"}]'
    assert Capabilities().to_json() == ""


def test_128_channels_fit() -> None:
    names = tuple(f"tenant-1234567890:project-{n:04}:events" for n in range(128))

    assert len(Capabilities.of([Rule(names, tuple(Operation))]).to_json()) < CAPABILITIES_BYTES


def test_more_rules_than_a_connection_can_keep_are_refused() -> None:
    empty = len(Capabilities.of([Rule(("",), (SUB,))]).to_json())
    longest = "x" * (CAPABILITIES_BYTES - empty)

    assert len(Capabilities.of([Rule((longest,), (SUB,))]).to_json()) == CAPABILITIES_BYTES
    with pytest.raises(ValueError, match="at most 8192"):
        Capabilities.of([Rule((longest + "x",), (SUB,))])


@pytest.mark.parametrize("text", ["{}", "[{}]", '[{"channels":["a"],"allow":["all"]}]', "nope"])
def test_what_was_not_kept_by_us_is_not_read(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Capabilities.from_json(text)
