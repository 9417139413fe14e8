"""A metric: one number that was derived from samples, with what is needed to judge its noise."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

Coordinates = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity of one arm at one place.

    Attributes:
        name: the metric's name.
        arm: the arm it was measured in, None where there is one arm alone.
        at: its coordinates, sorted by dimension.
        unit: unit of measurement ("1" is a pure number), None where the record says none.
        stat: the reducer that stands for the metric where a rule names none.
        k: successes of a proportion; `n` trials. Both None where it is no proportion.
        values: the scores, one for each sample; None where the record holds one figure alone.
        keys: what pairs the scores with those of another arm, one for each of `values`.
        clusters: samples that depend on one another share a name, one for each of `values`.
        value: the one figure of a record that holds no scores.
        fault: why it cannot be read, "" where it can.
        missing: the record has the metric, but its scores are absent (null or none).
        interval: lo, hi and level, where the record holds them beside a single figure.
        errors: samples that gave no score (a share counts them as failures).
    """

    name: str
    arm: str | None = None
    at: Coordinates = ()
    unit: str | None = None
    stat: str = "mean"
    k: int | None = None
    n: int | None = None
    values: tuple[Fraction, ...] = ()
    keys: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    value: Fraction | None = None
    fault: str = ""
    missing: bool = False
    interval: tuple[float, float, float] | None = None
    errors: int = 0

    @property
    def is_proportion(self) -> bool:
        """Whether it counts successes among trials."""
        return self.k is not None and self.n is not None

    @property
    def size(self) -> int | None:
        """How many samples it rests on, None where the record holds one figure alone."""
        if self.n is not None:
            return self.n
        return len(self.values) or None

    def coordinate(self, dimension: str) -> str | None:
        """Its place along `dimension`, None where it has none."""
        return dict(self.at).get(dimension)

    def label(self) -> str:
        """How a person reads it: `recall[full, context=256]`."""
        inner = [*([self.arm] if self.arm else []), *(f"{key}={value}" for key, value in self.at)]
        return f"{self.name}[{', '.join(inner)}]" if inner else self.name
