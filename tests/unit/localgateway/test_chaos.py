"""A plan of misbehaviour is repeatable, and does what its shares say."""

import pytest

from localgateway.chaos import Chaos, Fate, parse_chaos


def fates(plan: Chaos, posts: int = 2000) -> list[Fate]:
    return [plan.fate_of_post("id", 1, post) for post in range(posts)]


def test_nothing_misbehaves_by_default() -> None:
    plan = Chaos()

    assert set(fates(plan)) == {Fate()}
    assert not plan.loses_disconnect(1)
    assert not plan.holds(1)


def test_the_same_seed_means_the_same_fate_however_connections_interleave() -> None:
    one, other = (Chaos(seed=7, gone=0.1, failed=0.2, cut=0.1, delayed=0.3) for _ in "12")
    pairs = [(connection, post) for connection in range(20) for post in range(20)]

    met = {pair: one.fate_of_post("a", *pair) for pair in pairs}
    assert met == {pair: other.fate_of_post("b", *pair) for pair in reversed(pairs)}
    assert met != {pair: Chaos(seed=8, gone=0.1).fate_of_post("a", *pair) for pair in pairs}


def test_shares_are_met() -> None:
    plan = Chaos(gone=0.1, throttled=0.1, failed=0.1, unavailable=0.1, delayed=0.5, cut=0.5)
    met = fates(plan)

    for status in (410, 429, 500, 503):
        assert 120 < sum(fate.status == status for fate in met) < 280
    assert 800 < sum(fate.delay > 0 for fate in met) < 1200
    assert 450 < sum(fate.cut for fate in met) < 750
    assert not any(fate.cut and fate.status for fate in met)


def test_certain_misbehaviour_is_certain() -> None:
    plan = Chaos(lose_disconnects=1, held=1, unavailable=1)

    assert plan.loses_disconnect(3) and plan.holds(3)
    assert {fate.status for fate in fates(plan, 50)} == {503}


def test_a_script_comes_before_the_dice() -> None:
    plan = Chaos()
    plan.answer_next(429, 500)
    plan.answer_next(410, connection_id="b")

    assert plan.fate_of_post("b", 2, 1).status == 410
    assert plan.fate_of_post("a", 1, 1).status == 429
    assert plan.fate_of_post("b", 2, 2).status == 500
    assert plan.fate_of_post("b", 2, 3).status is None


def test_a_plan_is_read_from_text() -> None:
    assert parse_chaos("") == Chaos()
    assert parse_chaos("seed=7,gone=0.25,restart_seconds=30") == Chaos(
        seed=7, gone=0.25, restart_seconds=30.0
    )


@pytest.mark.parametrize("wrong", ["gone", "gone=x", "seed=0.5", "nonsense=1", "_lock=1"])
def test_a_wrong_plan_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong.partition("=")[0]):
        parse_chaos(wrong)
