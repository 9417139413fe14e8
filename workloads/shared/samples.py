"""Raw measured rows: the only thing that metrics, gates and verdicts are ever made from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge import canonical


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        arm: what was measured (a treatment or a control).
        seed: the planned seed that the unit was drawn with.
        unit: what was measured on; arms that share a unit are paired.
        input: `sha256:<hex>` of the exact input, so that equal inputs can be proved equal.
        measure: what the score is.
        score: the raw score; None where there is none, and then `error` says why.
        at: the cell of the grid, dimension to value.
        t_ms: wall time in milliseconds, None where none was taken.
        warmup: not to be counted.
    """

    arm: str
    seed: int
    unit: str
    input: str
    measure: str
    score: float | bool | None
    at: Mapping[str, str | float] = field(default_factory=dict)
    t_ms: float | None = None
    error: str | None = None
    warmup: bool = False

    def __post_init__(self) -> None:
        for name in ("arm", "unit", "measure"):
            _require(bool(getattr(self, name)), f"a sample's {name} must not be empty")
        _require(canonical.is_digest(self.input), f"input {self.input!r} is no sha256 digest")
        _require(self.t_ms is None or _is_finite(self.t_ms), f"t_ms {self.t_ms!r} is not finite")
        _require(
            self.score is None or _is_finite(self.score), f"score {self.score!r} is not finite"
        )
        _require(
            (self.score is None) == (self.error is not None),
            "a sample holds either a score or an error",
        )
        for dimension, value in self.at.items():
            _require(
                isinstance(value, str) or _is_finite(value), f"at.{dimension} {value!r} is no cell"
            )

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in `samples.jsonl`."""
        return {
            "arm": self.arm,
            "seed": self.seed,
            "unit": self.unit,
            "input": self.input,
            "measure": self.measure,
            "score": self.score,
            "at": dict(self.at),
            "error": self.error,
            "warmup": self.warmup,
            "t_ms": None if self.t_ms is None else round(self.t_ms, 3),
        }

    def as_line(self) -> str:
        """One line of `samples.jsonl`, newline included."""
        return json.dumps(self.as_json(), allow_nan=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Sample:
        """The inverse of `as_json`."""
        return cls(**row)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
