"""The parsers of wire data under hostile bytes, in the small; `make fuzz` makes 10,000 cases."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import ManifestError
from tests.fuzz.__main__ import run_target
from tests.fuzz.mutation import damaged
from tests.fuzz.targets import TARGETS, Target, try_one


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_bytes_are_more_than_refused(target: Target) -> None:
    made, _ = run_target(target, 25, chance=7)
    assert made >= 20


def test_a_parser_that_falls_over_is_found() -> None:
    def parse(data: bytes) -> None:
        if b"[[[" in data:
            raise KeyError("brackets")

    with pytest.raises(KeyError):
        run_target(Target("planted", st.just(b'{"a": 1}'), parse), 200, chance=1)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(st.just(b"x")))
def test_an_error_of_ours_is_no_fault_and_must_speak(data: bytes) -> None:
    def refuse(_: bytes) -> None:
        raise ManifestError("no")

    assert not try_one(Target("refuses", st.just(b""), refuse), data)
