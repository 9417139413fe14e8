"""Named reducers: from the scores of a group of samples to one number, exactly. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from functools import partial
from typing import Any, cast

from evidence import statistics

_DIGITS = Context(prec=28)

Reducer = Callable[[Sequence[Fraction]], Fraction]


def mean(values: Sequence[Fraction]) -> Fraction:
    """The arithmetic mean."""
    return sum(values, Fraction(0)) / len(values)


def harmonic_mean(values: Sequence[Fraction]) -> Fraction:
    """The harmonic mean, the right one for rates over equal work.

    Raises:
        ValueError: a value that is not positive.
    """
    if min(values) <= 0:
        raise ValueError("a harmonic mean takes positive values only")
    return len(values) / sum((1 / value for value in values), Fraction(0))


def quantile(values: Sequence[Fraction], probability: Fraction) -> Fraction:
    """The quantile with linear interpolation between order statistics."""
    ordered = sorted(values)
    place = probability * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def variance(values: Sequence[Fraction]) -> Fraction:
    """The unbiased sample variance.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("a variance takes two values or more")
    centre = mean(values)
    return sum(((value - centre) ** 2 for value in values), Fraction(0)) / (len(values) - 1)


def deviation(values: Sequence[Fraction]) -> Fraction:
    """The standard deviation, to 28 digits; raises as `variance`."""
    found = Fraction(variance(values))
    quotient = _DIGITS.divide(Decimal(found.numerator), Decimal(found.denominator))
    return Fraction(_DIGITS.sqrt(quotient))


def total(values: Sequence[Fraction]) -> Fraction:
    """The sum."""
    return sum(values, Fraction(0))


def spread(values: Sequence[Fraction]) -> Fraction:
    """The largest minus the smallest."""
    return max(values) - min(values)


QUANTILES = {
    "median": Fraction(1, 2),
    "p10": Fraction(1, 10),
    "p25": Fraction(1, 4),
    "p75": Fraction(3, 4),
    "p90": Fraction(9, 10),
    "p95": Fraction(19, 20),
    "p99": Fraction(99, 100),
}
REDUCERS: dict[str, Reducer] = {
    "mean": mean,
    "harmonic_mean": harmonic_mean,
    **{name: partial(quantile, probability=place) for name, place in QUANTILES.items()},
    "min": min,
    "max": max,
    "range": spread,
    "sum": total,
    "count": lambda values: Fraction(len(values)),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "variance": variance,
    "std": deviation,
}
ALIASES = {"harmonic": "harmonic_mean", "hmean": "harmonic_mean", "p50": "median", "n": "count"}
SMOOTH = frozenset({"mean", "harmonic_mean", "median", "p10", "p25", "p75", "p90"})
"""Reducers whose sampling noise a bootstrap can show; an extreme or a last value has none."""


def over_units(
    stat: str, column: Sequence[float], units: Sequence[Sequence[int]]
) -> Callable[[Sequence[int]], float]:
    """A reducer as a bootstrap calls it: of the scores of the units whose numbers were drawn."""
    if stat == "mean":
        return statistics.average(column, units)
    if stat in QUANTILES:
        return statistics.rank(QUANTILES[stat], column, units)
    return statistics.gather(cast("Any", REDUCERS[stat]), column, units)
