"""Leave-one-out: does one sample carry the verdict?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from evidence.gates.evaluate import judge_rule
from evidence.gates.resolve import Scope, UnreadError, find_metrics, leaves_of
from evidence.gates.syntax import (
    AllOf,
    AnyOf,
    Compare,
    Decide,
    Each,
    Gate,
    MetricTerm,
    Not,
    Rule,
    Term,
    Within,
)
from evidence.gates.verdicts import Verdict
from evidence.metrics import Metric
from evidence.numbers import format_value

MAX_TRIALS = 400
MAX_TRIED = 200
EXTREMES = 5
MAX_RESAMPLED = 12  # a bootstrap for each sample left out is bought only for few samples


@dataclass(frozen=True, slots=True)
class Flip:
    """One sample whose absence changes a verdict."""

    metric: str
    sample: str
    verdict: Verdict
    by: str


def find_flips(gate: Gate, scope: Scope, verdict: Verdict, seed: str) -> tuple[Flip, ...]:
    """The samples that change the verdict of the gate's rule when left out (at most 400 tried)."""
    if verdict in (Verdict.ERROR, Verdict.MISSING):
        return ()
    trials = _trials(gate.rule, scope)
    decide, by = gate.decide, str(gate.decide.by)
    reference: Verdict = verdict
    resampled = any(metric.values and not _is_binary(metric) for metric, _, _ in trials)
    if by == "ci" and resampled and len(trials) > MAX_RESAMPLED:
        decide, by = Decide("point", decide.conf), "point"
        reference = judge_rule(gate.rule, scope, decide, seed).verdict
    flips = []
    for metric, label, smaller in trials:
        other = judge_rule(gate.rule, scope.swap(metric, smaller), decide, seed).verdict
        if other is not reference and not _is_only_thinner(other):
            flips.append(Flip(metric.label(), label, other, by))
    return tuple(flips)


def _is_only_thinner(verdict: Verdict) -> bool:
    """A verdict that is missing because the last sample went says nothing of that sample."""
    return verdict in (Verdict.MISSING, Verdict.ERROR)


def _trials(rule: Rule, scope: Scope) -> list[tuple[Metric, str, Metric]]:
    found: list[tuple[Metric, str, Metric]] = []
    seen: list[Metric] = []
    for term, inner in _terms(rule, scope):
        try:
            metrics = find_metrics(term, inner)
        except UnreadError:
            continue
        for metric in metrics:
            if any(metric is one for one in seen):
                continue
            seen.append(metric)
            found.extend((metric, label, smaller) for label, smaller in _without_one(metric))
    return found[:MAX_TRIALS]


def _terms(rule: Rule, scope: Scope) -> Iterator[tuple[MetricTerm, Scope]]:
    if isinstance(rule, (Compare, Within)):
        sides: tuple[Term, Term] = (rule.left, rule.right)
        for side in sides:
            yield from ((leaf, scope) for leaf in leaves_of(side))
    elif isinstance(rule, (AllOf, AnyOf)):
        for inner in rule.rules:
            yield from _terms(inner, scope)
    elif isinstance(rule, Not):
        yield from _terms(rule.rule, scope)
    elif isinstance(rule, Each):
        for place in scope.view.dims.get(rule.dimension, ()):
            yield from _terms(rule.rule, scope.at(rule.dimension, place))


def _is_binary(metric: Metric) -> bool:
    return metric.is_proportion or set(metric.values) <= {Fraction(0), Fraction(1)}


def _without_one(metric: Metric) -> Iterator[tuple[str, Metric]]:
    """The metric without one sample, for each kind of sample that it has."""
    if (metric.size or 0) < 2:
        return
    if metric.values:
        shown: set[tuple[Fraction, bool]] = set()
        for index in _candidates(metric.values):
            value = metric.values[index]
            kind = (value, bool(metric.keys))
            if kind in shown:
                continue  # equal scores change the verdict in the same way
            shown.add(kind)
            name = metric.keys[index] if metric.keys else f"#{index + 1}"
            yield f"{name} = {format_value(value)}", _drop(metric, index, value)
        return
    if metric.k is None or metric.n is None:
        return
    if metric.k > 0:
        yield "one success", replace(metric, k=metric.k - 1, n=metric.n - 1)
    if metric.k < metric.n:
        yield "one failure", replace(metric, n=metric.n - 1)


def _candidates(values: tuple[Fraction, ...]) -> Iterable[int]:
    """Which samples to leave out: all of them, of many the extremes, which move a value most."""
    if len(values) <= MAX_TRIED:
        return range(len(values))
    order = sorted(range(len(values)), key=values.__getitem__)
    return order[:EXTREMES] + order[-EXTREMES:]


def _drop(metric: Metric, index: int, value: Fraction) -> Metric:
    def cut(items: tuple[str, ...]) -> tuple[str, ...]:
        return items[:index] + items[index + 1 :] if items else ()

    smaller = replace(
        metric,
        values=metric.values[:index] + metric.values[index + 1 :],
        keys=cut(metric.keys),
        clusters=cut(metric.clusters),
    )
    if metric.k is None or metric.n is None:
        return smaller
    return replace(smaller, k=metric.k - int(value == 1), n=metric.n - 1)
