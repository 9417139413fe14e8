"""Reducers of drawn resampling units, with all worked out beforehand that no draw changes. Pure.

Each gives, to the last bit, what the plain reducer gives of the drawn rows one after another.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, reduce
from itertools import chain

from evidence.statistics.resampling import Units

Drawn = Callable[[Sequence[int]], float]
_EXACT = 2.0**52  # a float holds every whole number up to twice this


def gather(reducer: Callable[[list[float]], float], column: Sequence[float], units: Units) -> Drawn:
    """Any reducer of the scores of the drawn units.

    Args:
        reducer: from a list of scores to a number.
        column: the score of each row.
        units: the rows of each unit.
    """
    if max(map(len, units)) == 1:
        score = [column[row] for (row,) in units].__getitem__
        return lambda drawn: float(reducer(list(map(score, drawn))))
    scores = [[column[row] for row in unit] for unit in units].__getitem__
    return lambda drawn: float(reducer(list(chain.from_iterable(map(scores, drawn)))))


def average(column: Sequence[float], units: Units) -> Drawn:
    """The mean, from the sum of each unit where no sum is rounded."""
    if not _adds_exactly(column, units):
        return gather(_mean_in_order, column, units)
    total = [sum(column[row] for row in unit) for unit in units].__getitem__
    size = [len(unit) for unit in units].__getitem__
    return lambda drawn: sum(map(total, drawn)) / sum(map(size, drawn))


def _adds_exactly(column: Sequence[float], units: Units) -> bool:
    """Whether a float holds every sum over drawn units, so that the order of addition is free."""
    largest = max(sum(abs(column[row]) for row in unit) for unit in units)
    grain = max(value.as_integer_ratio()[1] for value in set(column))  # a power of two
    return grain <= _EXACT and largest * len(units) * grain <= _EXACT


def _mean_in_order(scores: list[float]) -> float:
    # not `sum`, which rounds otherwise from Python 3.12 on
    return reduce(operator.add, scores, 0.0) / len(scores)


def rank(probability: Fraction, column: Sequence[float], units: Units) -> Drawn:
    """The quantile with linear interpolation, its place worked out once for each number of rows."""

    @cache
    def place(count: int) -> tuple[int, int, float]:
        exact = probability * (count - 1)
        low = int(exact)
        return low, min(low + 1, count - 1), float(exact - low)

    def quantile(scores: list[float]) -> float:
        scores.sort()
        low, high, weight = place(len(scores))
        return scores[low] + (scores[high] - scores[low]) * weight

    return gather(quantile, column, units)
