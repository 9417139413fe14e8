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
        goal_ratio: how many times `base_ms` the median should be at most, None without a goal.
    """

    name: str
    times_ms: tuple[float, ...]
    base_ms: float | None = None
    limit_ms: float | None = None
    goal_ratio: float | None = None

    @property
    def ratio(self) -> float:
        """The median in bases, 1 for the base itself."""
        return self.median_ms / (self.base_ms or self.median_ms)

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
class Fact:
    """One line of a table of other things than milliseconds.

    Attributes:
        name: what was measured.
        n: how often.
        value: the number, in `unit`.
        goal: what it should be at most, or at least where `more_is_better`; None without a goal.
        remark: what a reader should know of it.
    """

    name: str
    n: int
    value: float
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    remark: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal is met."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Table:
    """Rows measured in one run, compared with the first of them.

    Attributes:
        note: says what they are.
        after: Markdown below the table: what bounds a row, a picture.
    """

    title: str
    note: str
    rows: tuple[Row | Fact, ...]
    after: str = ""


def compare(
    cases: Mapping[str, Prepare],
    *,
    rounds: int,
    limits: Mapping[str, float] | None = None,
    goals: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """Time every case in turn, `rounds` times over, after one round that is not counted.

    Args:
        cases: by name; the first is what the others are compared with.
        rounds: how often each is timed.
        limits: milliseconds above the first that a case may take.
        goals: how many times the first a case should take at most.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, prepare in cases.items():
            action = prepare()
            start = time.perf_counter()
            action()
            if number:
                times[name].append((time.perf_counter() - start) * 1000)
    return make_rows(times, limits or {}, goals or {})


def make_rows(
    times: Mapping[str, Sequence[float]],
    limits: Mapping[str, float],
    goals: Mapping[str, float],
) -> tuple[Row, ...]:
    """Rows of measured milliseconds, compared with the first."""
    first = next(iter(times))
    base_ms = statistics.median(times[first])
    return tuple(
        Row(
            name, tuple(each), None if name == first else base_ms, limits.get(name), goals.get(name)
        )
        for name, each in times.items()
    )
