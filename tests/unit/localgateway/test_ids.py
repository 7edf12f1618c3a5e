"""Ids have API Gateway's form."""

import os

from localgateway.ids import is_connection_id, new_id, new_trace_id, new_uuid


def test_17_ids_have_the_captured_form_and_are_fresh() -> None:
    made = {new_id(os.urandom) for _ in range(1000)}

    assert len(made) == 1000
    assert all(is_connection_id(each) for each in made)
    assert {len(each) for each in made} == {16}


def test_captured_ids_are_recognised_and_malformed_ones_are_not() -> None:
    assert all(map(is_connection_id, ("X2hB7d6KoAMCLzA=", "RYG0LEicPHcFo_A=", "JC1dgf9yoAMCK-g=")))
    assert not any(
        map(is_connection_id, ("abc", "X2hB7d6KoAMCLzA", "X2hB7d6KoAMCLzAA=", "X2hB7d6KoAMCL+A="))
    )
    assert not is_connection_id("X2hB7d6KoAMCLzA=\n")


def test_ids_come_from_the_entropy_that_is_given() -> None:
    assert new_id(bytes) == "AAAAAAAAAAAAAAA="
    assert new_uuid(bytes) == "00000000-0000-4000-8000-000000000000"
    assert new_trace_id(bytes, 0x65D2FF2E) == "Root=1-65d2ff2e-" + "0" * 24
