"""The judge of `bin/bench chaos` sees what is wrong, and nothing else."""

import pytest

from bench.audit import Audit, Event, audit

STREAM = {1: "a", 2: "b", 4: "d", 5: "e"}  # 3 was never a publication


def _joined(offset: int) -> Event:
    return {"event": "subscribed", "was_recovering": False, "recovered": False, "offset": offset}


def _back(offset: int, *, recovered: bool) -> Event:
    return {"event": "subscribed", "was_recovering": True, "recovered": recovered, "offset": offset}


def _heard(*offsets: int) -> list[Event]:
    return [{"event": "publication", "offset": n, "data": STREAM.get(n)} for n in offsets]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([_joined(0), *_heard(1, 2, 4, 5)], Audit(heard=4)),
        ([_joined(2), *_heard(4, 5)], Audit(heard=2)),
        ([_joined(0), *_heard(1, 2, 2, 4, 5)], Audit(heard=5, duplicates=1)),
        ([_joined(0), *_heard(1, 2, 5)], Audit(heard=3, lost=1)),
        ([_joined(0), *_heard(1, 4, 2, 5)], Audit(heard=4, disorder=1)),
        (
            [_joined(0), *_heard(1), _back(5, recovered=True), *_heard(2, 4, 5)],
            Audit(heard=4, recoveries=1),
        ),
        (
            [_joined(0), *_heard(1), _back(4, recovered=True), *_heard(5)],
            Audit(2, recoveries=1, lost=2),
        ),
        (
            [_joined(0), *_heard(1), _back(4, recovered=False), *_heard(5)],
            Audit(heard=2, unrecovered=1),
        ),
        ([_joined(0), _back(4, recovered=False), *_heard(5)], Audit(heard=1, forgiven=1)),
        ([_joined(0), *_heard(1, 2, 3, 4, 5)], Audit(heard=5, corrupt=1)),
    ],
)
def test_an_audit_finds_what_is_wrong(events: list[Event], expected: Audit) -> None:
    assert audit(events, STREAM, upto=5, keeps=3) == expected


def test_what_came_after_the_end_is_not_owed() -> None:
    assert audit([_joined(0), *_heard(1, 2)], STREAM, upto=2, keeps=3) == Audit(heard=2)
