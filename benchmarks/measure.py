"""One measured row: the median and the slowest of a few repetitions, against its limit if any."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the benchmark.

    Attributes:
        name: what was measured.
        times_ms: every repetition, in milliseconds.
        limit_ms: what the median must stay under, None for a number that is only told.
    """

    name: str
    times_ms: tuple[float, ...]
    limit_ms: float | None = None

    @property
    def median_ms(self) -> float:
        """The middle repetition."""
        return statistics.median(self.times_ms)

    @property
    def holds(self) -> bool:
        """Whether the median stays under its limit."""
        return self.limit_ms is None or self.median_ms < self.limit_ms


def time_ms(action: Callable[[], object], *, repetitions: int) -> tuple[float, ...]:
    """How long `action` takes each time, after one call that is not counted."""
    action()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1000)
    return tuple(times)
