"""The protocol under random schedules, and under three planted bugs that must be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.runner.daemon import Runner
from tests.simulation.planted import NoCompareAndSwap, NoFencing, WallClocks
from tests.simulation.schedule import run_schedule
from tests.simulation.world import MemoryBus

BOUND = 400
"""Schedules in which a planted bug must show itself."""


@settings(
    max_examples=150,
    derandomize=True,  # CI says the same twice; `make simulate` is where luck is tried
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 80))
def test_no_schedule_breaks_an_invariant(tmp_path: Path, seed: int, steps: int) -> None:
    lab = run_schedule(seed, tmp_path, steps=steps)
    assert all(lab.world.load(ref).ended for ref in lab.refs)


@pytest.mark.parametrize(
    ("bug", "symptom"),
    [
        ({"runner_class": NoFencing}, "does not count|after the end|rewritten"),
        ({"runner_class": WallClocks}, "after a beat"),
        ({"bus_class": NoCompareAndSwap}, "rewritten|does not count"),
    ],
    ids=["no-fencing", "wall-clocks", "no-compare-and-swap"],
)
def test_a_planted_bug_is_found(tmp_path: Path, bug: dict[str, Any], symptom: str) -> None:
    options: dict[str, Any] = {"bus_class": MemoryBus, "runner_class": Runner, **bug}
    with pytest.raises(AssertionError, match=symptom):
        hunt(tmp_path, options)


def hunt(folder: Path, options: dict[str, Any]) -> None:
    """Schedules by seed until one breaks."""
    for seed in range(BOUND):
        run_schedule(seed, folder, **options)
