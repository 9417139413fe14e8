"""From a term to its interval: linear terms in closed form, the rest by resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from evidence.gates.expressions import general_interval
from evidence.gates.methods import (
    MethodRequest,
    as_proportion,
    difference_interval,
    leaf_interval,
)
from evidence.gates.resolve import Leaf, Scope, find_leaf
from evidence.gates.syntax import Constant, Difference, Magnitude, MetricTerm, Ratio, Term
from evidence.statistics import Interval


@dataclass(frozen=True, slots=True)
class Linear:
    """A term as a weighted sum of metrics and a constant."""

    weights: tuple[tuple[MetricTerm, Fraction], ...]
    constant: Fraction


def linearize(term: Term) -> Linear | None:
    """The linear form of a term, None where it has none (a ratio of metrics, a magnitude)."""
    if isinstance(term, Constant):
        return Linear((), term.value)
    if isinstance(term, MetricTerm):
        return Linear(((term, Fraction(1)),), Fraction(0))
    if isinstance(term, Magnitude):
        return None
    return _linearize_pair(term, linearize(term.left), linearize(term.right))


def _linearize_pair(
    term: Difference | Ratio, left: Linear | None, right: Linear | None
) -> Linear | None:
    if left is None or right is None:
        return None
    if isinstance(term, Difference):
        negated = tuple((leaf, -weight) for leaf, weight in right.weights)
        return Linear(_merge((*left.weights, *negated)), left.constant - right.constant)
    if right.weights or right.constant == 0:
        return None
    scaled = tuple((leaf, weight / right.constant) for leaf, weight in left.weights)
    return Linear(scaled, left.constant / right.constant)


def _merge(
    weights: Sequence[tuple[MetricTerm, Fraction]],
) -> tuple[tuple[MetricTerm, Fraction], ...]:
    merged: dict[MetricTerm, Fraction] = {}
    for leaf, weight in weights:
        merged[leaf] = merged.get(leaf, Fraction(0)) + weight
    return tuple((leaf, weight) for leaf, weight in merged.items() if weight != 0)


def interval_of(term: Term, scope: Scope, request: MethodRequest) -> Interval:
    """The interval of a term; raises UnreadError as `general_interval` does."""
    linear = linearize(term)
    if linear is not None:
        leaves = [(find_leaf(leaf, scope), weight) for leaf, weight in linear.weights]
        found = _closed_form(leaves, request)
        if found is not None:
            return move(found, float(linear.constant))
    return general_interval(term, scope, request)


def move(interval: Interval, shift: float) -> Interval:
    """The interval of x + shift."""
    return Interval(
        interval.lo + shift, interval.hi + shift, interval.level, interval.method, interval.sided
    )


def _closed_form(
    leaves: Sequence[tuple[Leaf, Fraction]], request: MethodRequest
) -> Interval | None:
    if len(leaves) == 1:
        leaf, weight = leaves[0]
        bounds = leaf_interval(leaf, request)
        return None if bounds is None else _scale(bounds, float(weight))
    if len(leaves) != 2 or sorted(weight for _, weight in leaves) != [-1, 1]:
        return None
    ordered = leaves if leaves[0][1] == 1 else leaves[::-1]
    one, two = (as_proportion(leaf) for leaf, _ in ordered)
    if one is None or two is None or one.clusters or two.clusters:
        return None
    return difference_interval(one, two, request)


def _scale(interval: Interval, weight: float) -> Interval:
    lo, hi = sorted((interval.lo * weight, interval.hi * weight))
    return Interval(lo, hi, interval.level, interval.method, interval.sided)
