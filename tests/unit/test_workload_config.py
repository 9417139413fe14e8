"""Configs built from JSON: every fault named at its path, and the two rules most configs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from bridge.errors import UsageError
from workloads.shared import job


@dataclass(frozen=True)
class Shape:
    """A config with a field of every kind."""

    count: int
    rate: float = 0.5
    flag: bool = False
    name: str = "x"
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    grid: tuple[float, ...] = (0.1,)


def test_every_fault_of_a_config_is_named_at_its_path() -> None:
    data = {
        "count": 1.0,
        "rate": True,
        "flag": 1,
        "kind": "c",
        "limit": "3",
        "grid": [1, "x"],
        "nmae": 1,
    }
    with pytest.raises(UsageError) as caught:
        job.build_config(Shape, data, where="job.json")
    text = str(caught.value)
    for name in ("count", "rate", "flag", "kind", "limit", "grid[1]", "nmae"):
        assert f"$.config.{name}:" in text
    assert "unknown key" in text
    assert caught.value.exit_code == 2


def test_a_missing_field_without_a_default_is_named() -> None:
    with pytest.raises(UsageError, match=r"\$\.config\.count: missing"):
        job.build_config(Shape, {})


def test_a_sound_config_is_built_with_its_defaults() -> None:
    built = job.build_config(Shape, {"count": 3, "rate": 1, "limit": None, "grid": [1, 0.5]})
    assert built == Shape(count=3, rate=1.0, grid=(1.0, 0.5))
    assert isinstance(built.rate, float)
    assert job.digest_config(built) != job.digest_config(Shape(count=4))


def test_the_two_common_rules_name_every_fault() -> None:
    bounds = {"count": (0, 5), "grid": (0, 1)}
    problems = job.list_problems(Shape(6, grid=(0.5, 2.0, 2.0)), several=("grid",), bounds=bounds)
    assert problems == [
        "$.config.grid: at least one value, each once",
        "$.config.count: 6 is outside 0 to 5",
        "$.config.grid[1]: 2.0 is outside 0 to 1",
        "$.config.grid[2]: 2.0 is outside 0 to 1",
    ]
    assert job.list_problems(Shape(5, grid=()), several=("grid",)) == problems[:1]
    assert job.list_problems(Shape(5, grid=(0.0, 1.0)), several=("grid",), bounds=bounds) == []
    with pytest.raises(UsageError) as caught:
        job.refuse_problems(problems)
    assert caught.value.problems == tuple(problems)
    job.refuse_problems([])
