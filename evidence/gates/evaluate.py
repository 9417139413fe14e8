"""Rules to findings: the verdict of every rule on one record, with what was seen."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from evidence.gates import tables
from evidence.gates.intervals import interval_of, linearize
from evidence.gates.methods import MethodRequest
from evidence.gates.power import advise_power
from evidence.gates.resolve import (
    Scope,
    UnreadError,
    find_leaf,
    leaves_of,
    match_units,
    unit_of,
    value_of,
)
from evidence.gates.syntax import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    Decide,
    Difference,
    Each,
    Not,
    Rule,
    Term,
    Trend,
    Within,
)
from evidence.gates.trend import judge_trend
from evidence.gates.verdicts import (
    Verdict,
    combine_all,
    combine_any,
    combine_each,
    negate,
)
from evidence.numbers import format_value
from evidence.statistics import Interval

_EXACT: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one rule.

    Attributes:
        verdict: the verdict.
        label: what was looked at.
        observed: the exact observed value of a comparison.
        threshold: the other side of it, as text.
        interval: where the verdict was by interval.
        n: smallest number of samples behind the metrics, None for single figures.
        why: for a person: what decided, or what is missing.
        parts: findings of inner rules.
    """

    verdict: Verdict
    label: str = ""
    observed: Fraction | None = None
    threshold: str = ""
    interval: Interval | None = None
    n: int | None = None
    why: str = ""
    parts: tuple[Finding, ...] = ()


def judge_rule(rule: Rule, scope: Scope, decide: Decide, seed: str) -> Finding:
    """The finding of `rule`; never raises on bad data: that is a verdict."""
    try:
        return _JUDGES[type(rule)](rule, scope, decide, seed)
    except UnreadError as error:
        return Finding(error.verdict, why=error.why)


def _judge_compare(rule: Compare, scope: Scope, decide: Decide, seed: str) -> Finding:
    match_units(unit_of(rule.left, scope), unit_of(rule.right, scope))
    seen, threshold = split_comparison(rule.left, rule.right)
    left, right = value_of(rule.left, scope), value_of(rule.right, scope)
    finding = Finding(
        Verdict.PASS if _EXACT[rule.op](left, right) else Verdict.FAIL,
        label=describe_term(seen, scope),
        observed=value_of(seen, scope),
        threshold=f"{rule.op} {format_value(threshold)}",
        n=_smallest_n(rule, scope),
    )
    if decide.by == "point":
        return finding
    request = MethodRequest(decide, tost=False, at_zero=threshold == 0, seed=seed)
    found = _by_interval(finding, seen, scope, request, _compare_interval(rule.op, threshold))
    if found.verdict is Verdict.INCONCLUSIVE and not found.why and threshold == 0:
        return replace(found, why=advise_power(seen, scope, request.conf))
    return found


def split_comparison(left: Term, right: Term) -> tuple[Term, Fraction]:
    """`left op right` as `seen op threshold`, with every constant on the right."""
    linear = linearize(Difference(left, right))
    if isinstance(right, Constant):
        seen, threshold = left, right.value
        inner = linearize(left)
        if inner is None or inner.constant == 0:
            return seen, threshold
    if linear is None or linear.constant == 0:
        return Difference(left, right), Fraction(0)
    shifted = Difference(left, right)
    constant = Constant(linear.constant, format_value(linear.constant))
    return Difference(shifted, constant), -linear.constant


def _compare_interval(op: str, threshold: Fraction) -> Callable[[Interval], Verdict]:
    limit = float(threshold)

    def decide(interval: Interval) -> Verdict:
        lo, hi = interval.lo, interval.hi
        holds = {
            ">": lo > limit,
            ">=": lo >= limit,
            "<": hi < limit,
            "<=": hi <= limit,
            "==": lo == hi == limit,
            "!=": lo > limit or hi < limit,
        }[op]
        breaks = {
            ">": hi <= limit,
            ">=": hi < limit,
            "<": lo >= limit,
            "<=": lo > limit,
            "==": lo > limit or hi < limit,
            "!=": lo == hi == limit,
        }[op]
        return Verdict.PASS if holds else Verdict.FAIL if breaks else Verdict.INCONCLUSIVE

    return decide


def _judge_within(rule: Within, scope: Scope, decide: Decide, seed: str) -> Finding:
    match_units(unit_of(rule.left, scope), unit_of(rule.right, scope))
    tolerance = rule.tolerance.value
    gap = value_of(rule.left, scope) - value_of(rule.right, scope)
    seen = Difference(rule.left, rule.right)
    finding = Finding(
        Verdict.PASS if abs(gap) <= tolerance else Verdict.FAIL,
        label=describe_term(seen, scope),
        observed=gap,
        threshold=f"±{format_value(tolerance)}",
        n=_smallest_n(rule, scope),
    )
    if decide.by == "point":
        return finding
    limit = float(tolerance)

    def verdict(interval: Interval) -> Verdict:
        if interval.lo >= -limit and interval.hi <= limit:
            return Verdict.PASS
        outside = interval.lo > limit or interval.hi < -limit
        return Verdict.FAIL if outside else Verdict.INCONCLUSIVE

    request = MethodRequest(decide, tost=True, at_zero=False, seed=seed)
    return _by_interval(finding, seen, scope, request, verdict)


def _by_interval(
    finding: Finding,
    seen: Term,
    scope: Scope,
    request: MethodRequest,
    verdict: Callable[[Interval], Verdict],
) -> Finding:
    try:
        interval = interval_of(seen, scope, request)
    except UnreadError as error:
        return replace(finding, verdict=error.verdict, why=error.why)
    return replace(finding, verdict=verdict(interval), interval=interval)


def _smallest_n(rule: Compare | Within, scope: Scope) -> int | None:
    sizes = [
        metric.size
        for term in (rule.left, rule.right)
        for leaf in leaves_of(term)
        for metric in find_leaf(leaf, scope).metrics
    ]
    known = [size for size in sizes if size is not None]
    return min(known) if known else None


def describe_term(term: Term, scope: Scope) -> str:
    """A term for a person."""
    if isinstance(term, Constant):
        return term.text
    if isinstance(term, Difference):
        if isinstance(term.right, Constant) and term.right.value == 0:
            return describe_term(term.left, scope)
        return f"{describe_term(term.left, scope)} − {describe_term(term.right, scope)}"
    inner: Any = getattr(term, "inner", None)
    if inner is not None:
        return f"|{describe_term(inner, scope)}|"
    left: Any = getattr(term, "left", None)
    if left is not None:
        right: Any = getattr(term, "right", None)
        return f"{describe_term(left, scope)} / {describe_term(right, scope)}"
    return find_leaf(next(leaves_of(term)), scope).label()


def _judge_each(rule: Each, scope: Scope, decide: Decide, seed: str) -> Finding:
    places = scope.view.dims.get(rule.dimension, ())
    if not places:
        return Finding(
            Verdict.MISSING, why=f"the record plans no places of the dimension {rule.dimension!r}"
        )
    parts = []
    for place in places:
        part = judge_rule(rule.rule, scope.at(rule.dimension, place), decide, seed)
        here = f"{rule.dimension}={place}"
        parts.append(
            replace(
                part, label=part.label if place in part.label else f"{part.label} {here}".strip()
            )
        )
    verdict = combine_each((part.verdict for part in parts), rule.min_frac)
    passed = sum(part.verdict is Verdict.PASS for part in parts)
    wanted = "" if rule.min_frac == 1 else f", {format_value(rule.min_frac)} of them wanted"
    why = f"{passed} of {len(parts)} {rule.dimension} pass{wanted}"
    return Finding(verdict, why=why, parts=tuple(parts))


def _judge_all(rule: AllOf, scope: Scope, decide: Decide, seed: str) -> Finding:
    parts = tuple(judge_rule(inner, scope, decide, seed) for inner in rule.rules)
    return Finding(combine_all(part.verdict for part in parts), parts=parts)


def _judge_any(rule: AnyOf, scope: Scope, decide: Decide, seed: str) -> Finding:
    parts = tuple(judge_rule(inner, scope, decide, seed) for inner in rule.rules)
    return Finding(combine_any(part.verdict for part in parts), parts=parts)


def _judge_not(rule: Not, scope: Scope, decide: Decide, seed: str) -> Finding:
    part = judge_rule(rule.rule, scope, decide, seed)
    return Finding(negate(part.verdict), why="not", parts=(part,))


def _judge_trend(rule: Trend, scope: Scope, decide: Decide, _seed: str) -> Finding:
    verdict, label, why, count = judge_trend(rule, scope, decide)
    return Finding(verdict, label=label, threshold=rule.direction, why=why, n=count)


def _judge_table(rule: Rule, scope: Scope, _decide: Decide, _seed: str) -> Finding:
    verdict, why = tables.judge_table(rule, scope)
    return Finding(verdict, why=why)


_JUDGES: dict[type, Callable[[Any, Scope, Decide, str], Finding]] = {
    Compare: _judge_compare,
    Within: _judge_within,
    Each: _judge_each,
    AllOf: _judge_all,
    AnyOf: _judge_any,
    Not: _judge_not,
    Trend: _judge_trend,
    **dict.fromkeys(tables.TABLE_RULES, _judge_table),
}
