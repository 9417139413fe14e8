"""Intervals of any term: by resampling whole units, or by bounds where resampling has no width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from evidence import statistics
from evidence.gates.methods import MethodRequest, leaf_interval, state_sides
from evidence.gates.pairing import Rows, group_rows
from evidence.gates.resolve import Leaf, Scope, UnreadError, find_leaf, leaves_of
from evidence.gates.syntax import Constant, Difference, Magnitude, MetricTerm, Term
from evidence.gates.verdicts import Verdict
from evidence.reducers import SMOOTH, over_units
from evidence.statistics import Interval

_PAIRED = ("mcnemar", "paired-bootstrap")
Leaves = dict[MetricTerm, Leaf]


def general_interval(term: Term, scope: Scope, request: MethodRequest) -> Interval:
    """The interval of a term of any form.

    Raises:
        UnreadError: inconclusive where the data cannot give one (single figures, too few
            samples, an extreme), error where the demanded method does not fit.
    """
    leaves = {one: find_leaf(one, scope) for one in dict.fromkeys(leaves_of(term))}
    return _interval(term, leaves, request)


def _interval(term: Term, leaves: Leaves, request: MethodRequest) -> Interval:
    noisy = {one: leaf for one, leaf in leaves.items() if _is_noisy(leaf)}
    if not noisy:
        names = ", ".join(leaf.label() for leaf in leaves.values())
        raise UnreadError(Verdict.INCONCLUSIVE, f"{names}: one figure without n has no interval")
    if any(_on_edge(leaf) for leaf in noisy.values()):
        lo, hi = _bounds(term, leaves, request)
        return Interval(lo, hi, request.conf, "bounds")
    for leaf in noisy.values():
        _check_resampled(leaf)
    metrics = [leaf.metrics[0] for leaf in noisy.values()]
    table = group_rows(metrics, paired=request.decide.method != "bootstrap")
    _check_method(table, request)
    value = _compile(term, leaves, table)
    lo, hi = statistics.bootstrap(table.units, value, request.level, request.seed)
    if lo == hi:
        raise UnreadError(Verdict.INCONCLUSIVE, "equal scores give a bootstrap no width")
    return state_sides(Interval(lo, hi, request.conf, table.method), request)


def _is_noisy(leaf: Leaf) -> bool:
    return any(metric.values or metric.is_proportion or metric.interval for metric in leaf.metrics)


def _on_edge(leaf: Leaf) -> bool:
    metric = leaf.metrics[0]
    return metric.interval is not None or (metric.is_proportion and metric.k in (0, metric.n))


def _check_resampled(leaf: Leaf) -> None:
    if len(leaf.metrics) > 1:
        raise UnreadError(Verdict.INCONCLUSIVE, f"{leaf.label()}: a pool has no interval")
    if leaf.stat not in SMOOTH:
        raise UnreadError(
            Verdict.INCONCLUSIVE, f"{leaf.label()}: {leaf.stat} has no interval, decide by point"
        )
    size = leaf.metrics[0].size or 0
    if not leaf.metrics[0].interval and size < statistics.MIN_UNITS:
        raise UnreadError(
            Verdict.INCONCLUSIVE,
            f"{leaf.label()}: n={size}, a bootstrap needs n >= {statistics.MIN_UNITS}",
        )


def _check_method(table: Rows, request: MethodRequest) -> None:
    if request.decide.method in _PAIRED and len(table.units) != 1:
        raise UnreadError(Verdict.ERROR, "the units of the arms do not pair up")
    if request.decide.method == "cluster-bootstrap" and table.method != "cluster-bootstrap":
        raise UnreadError(Verdict.ERROR, "cluster-bootstrap: the samples name no clusters")
    if min(map(len, table.units)) < statistics.MIN_UNITS:
        raise UnreadError(
            Verdict.INCONCLUSIVE, f"a bootstrap needs {statistics.MIN_UNITS} units or more"
        )


def _compile(term: Term, leaves: Leaves, table: Rows) -> Callable[[Sequence[Sequence[int]]], float]:
    """The term as a function of the chosen units, one list of numbers for each group."""
    if isinstance(term, Constant):
        constant = float(term.value)
        return lambda _chosen: constant
    if isinstance(term, MetricTerm):
        return _compile_leaf(leaves[term], table)
    if isinstance(term, Magnitude):
        inner = _compile(term.inner, leaves, table)
        return lambda chosen: abs(inner(chosen))
    left = _compile(term.left, leaves, table)
    right = _compile(term.right, leaves, table)
    if isinstance(term, Difference):
        return lambda chosen: left(chosen) - right(chosen)
    return lambda chosen: _divide(left(chosen), right(chosen))


def _compile_leaf(leaf: Leaf, table: Rows) -> Callable[[Sequence[Sequence[int]]], float]:
    if not _is_noisy(leaf):
        figure = float(leaf.value())  # a figure without replicates is taken as exact
        return lambda _chosen: figure
    column, group = table.column(leaf.metrics[0])
    value = over_units(leaf.stat, column, table.units[group])
    return lambda chosen: value(chosen[group])


def _divide(left: float, right: float) -> float:
    return left / right if right else math.nan


def _bounds(term: Term, leaves: Leaves, request: MethodRequest) -> tuple[float, float]:
    """Interval arithmetic over the metrics' own intervals: wide, but never without width."""
    if isinstance(term, Constant):
        return float(term.value), float(term.value)
    if isinstance(term, MetricTerm):
        return _leaf_bounds(term, leaves[term], request)
    if isinstance(term, Magnitude):
        low, high = _bounds(term.inner, leaves, request)
        return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
    left, right = (_bounds(side, leaves, request) for side in (term.left, term.right))
    if isinstance(term, Difference):
        return left[0] - right[1], left[1] - right[0]
    return _divide_bounds(left, right)


def _leaf_bounds(term: MetricTerm, leaf: Leaf, request: MethodRequest) -> tuple[float, float]:
    if not _is_noisy(leaf):
        return float(leaf.value()), float(leaf.value())
    found = leaf_interval(leaf, request) or _interval(term, {term: leaf}, request)
    return found.lo, found.hi


def _divide_bounds(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    if right[0] <= 0 <= right[1]:
        return -math.inf, math.inf
    corners = [above / below for above in left for below in right]
    return min(corners), max(corners)
