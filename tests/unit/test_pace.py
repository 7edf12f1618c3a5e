"""The rate is kept, and gives way to an account that is throttled."""

import pytest

from chalicelib.transport.pace import Pace


def test_takes_the_burst_and_then_the_rate() -> None:
    """Half a second's worth at once, then as much as time has earned."""
    pace = Pace(100)

    assert pace.take(1000, now=5.0) == 50
    assert pace.take(1000, now=5.0) == 0
    assert pace.delay() == pytest.approx(0.01)
    assert pace.take(1000, now=5.125) == 12
    assert pace.take(1000, now=99.0) == 50


def test_gives_back_what_was_not_used() -> None:
    """So that a call that ends early costs the others nothing."""
    pace = Pace(100)
    pace.take(50, now=0.0)

    pace.give_back(7)

    assert pace.take(50, now=0.0) == 7


def test_a_clock_that_goes_back_earns_nothing() -> None:
    """Threads may report their times out of order."""
    pace = Pace(100)
    pace.take(50, now=10.0)

    assert pace.take(50, now=9.0) == 0


def test_slows_down_when_most_answers_are_429_and_recovers() -> None:
    """Half of what was measured, then a tenth more a window, up to the given rate."""
    pace = Pace(9_000)
    pace.report(0, 0, now=0.0)

    pace.report(1_000, 900, now=1.0)
    slow = pace.rate
    for second in range(2, 60):
        pace.report(100, 0, now=float(second))

    assert slow == 500
    assert pace.rate == 9_000


def test_one_recipients_429_slows_nobody_down() -> None:
    """A full buffer of one client is not the account's throttle."""
    pace = Pace(9_000)

    for second in range(1, 20):
        pace.report(100, 5, now=float(second))

    assert pace.rate == 9_000


def test_never_stops_altogether() -> None:
    """However long the throttling lasts, somebody asks whether it is over."""
    pace = Pace(9_000)

    for second in range(1, 100):
        pace.report(50, 50, now=float(second))

    assert pace.rate == 20
