"""Interleaved measuring: a machine that slows down for a while slows every row down alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Action = Callable[[], object]
Prepare = Callable[[], Action]
"""What is done before the clock starts; what it returns is timed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: what was measured.
        times_ms: every repetition, in milliseconds.
        base_ms: median of the row that this one is compared with, None for that row itself.
        limit_ms: what the median may be above `base_ms`, None for a number that is only told.
    """

    name: str
    times_ms: tuple[float, ...]
    base_ms: float | None = None
    limit_ms: float | None = None

    @property
    def median_ms(self) -> float:
        """The middle repetition."""
        return statistics.median(self.times_ms)

    @property
    def above_ms(self) -> float:
        """How much slower than the base it is."""
        return self.median_ms - (self.base_ms or 0.0)

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.limit_ms is None or self.above_ms < self.limit_ms


@dataclass(frozen=True, slots=True)
class Table:
    """Rows measured in one run, compared with the first of them; `note` says what they are."""

    title: str
    note: str
    rows: tuple[Row, ...]


def compare(
    cases: Mapping[str, Prepare], *, rounds: int, limits: Mapping[str, float] | None = None
) -> tuple[Row, ...]:
    """Time every case in turn, `rounds` times over, after one round that is not counted.

    Args:
        cases: by name; the first is what the others are compared with.
        rounds: how often each is timed.
        limits: milliseconds above the first that a case may take.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, prepare in cases.items():
            action = prepare()
            start = time.perf_counter()
            action()
            if number:
                times[name].append((time.perf_counter() - start) * 1000)
    return make_rows(times, limits or {})


def make_rows(times: Mapping[str, Sequence[float]], limits: Mapping[str, float]) -> tuple[Row, ...]:
    """Rows of measured milliseconds, compared with the first."""
    first = next(iter(times))
    base_ms = statistics.median(times[first])
    return tuple(
        Row(name, tuple(each), None if name == first else base_ms, limits.get(name))
        for name, each in times.items()
    )
