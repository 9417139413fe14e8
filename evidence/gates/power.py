"""The smallest n at which a gate can pass, said before a run is paid for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from evidence import statistics
from evidence.gates.intervals import linearize
from evidence.gates.methods import as_proportion
from evidence.gates.resolve import Scope, find_leaf
from evidence.gates.syntax import (
    AllOf,
    AnyOf,
    Compare,
    Decide,
    Difference,
    Each,
    Rule,
    Term,
    Trend,
    Within,
)
from evidence.statistics.special import normal_quantile

_SEARCH = 100_000
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Need:
    """The smallest number of samples per arm and place, None where no number is enough.

    `why` says under which best outcome.
    """

    n: int | None
    why: str = ""


def smallest_n(rule: Rule, decide: Decide) -> Need:
    """The smallest n at which `rule` can pass, if every sample falls as well as it can.

    Shares are taken where a threshold lies between 0 and 1; for other numbers the resampling
    needs a few units, and the spread decides the rest.
    """
    if isinstance(rule, (AllOf, AnyOf)):
        needs = [smallest_n(inner, decide) for inner in rule.rules]
        return _largest(needs) if isinstance(rule, AllOf) else _smallest(needs)
    if isinstance(rule, Each):
        return smallest_n(rule.rule, decide)
    if decide.by == "point":
        return Need(1)
    if isinstance(rule, Within):
        return _within(rule, decide)
    if isinstance(rule, Compare):
        return _compare(rule, decide)
    return _trend(decide) if isinstance(rule, Trend) else Need(1)


def power_n(p1: float, p2: float, conf: float) -> int | None:
    """Samples per arm that show a difference of two independent shares with 80 % power.

    Source: the normal approximation, Fleiss, Statistical Methods for Rates and Proportions, ch. 4.
    """
    if p1 == p2:
        return None
    z = normal_quantile(0.5 + conf / 2) + normal_quantile(_POWER)
    return math.ceil(z * z * (p1 * (1 - p1) + p2 * (1 - p2)) / (p1 - p2) ** 2)


def advise_power(term: Term, scope: Scope, conf: float) -> str:
    """How many samples would show the difference of two shares as it was seen, "" for others."""
    linear = linearize(term)
    if linear is None or sorted(weight for _, weight in linear.weights) != [-1, 1]:
        return ""
    one, two = (as_proportion(find_leaf(leaf, scope)) for leaf, _ in linear.weights)
    if one is None or two is None or not one.n or not two.n:
        return ""
    assert one.k is not None
    assert two.k is not None
    n = power_n(one.k / one.n, two.k / two.n, conf)
    return f"80 % power for a difference as seen takes about {n} samples in each arm" if n else ""


def _largest(needs: Iterable[Need]) -> Need:
    return max(needs, key=lambda need: math.inf if need.n is None else need.n)


def _smallest(needs: Iterable[Need]) -> Need:
    return min(needs, key=lambda need: math.inf if need.n is None else need.n)


def _within(rule: Within, decide: Decide) -> Need:
    tolerance, conf = float(rule.tolerance.value), float(decide.conf)
    if tolerance == 0:
        return Need(None, "an interval of samples is never without width")
    if tolerance >= 1:
        return Need(statistics.MIN_UNITS, "a bootstrap needs as many")
    if decide.method == "newcombe":
        return _search(
            lambda n: statistics.newcombe(n, n, n, n, 2 * conf - 1).hi <= tolerance,
            "no loss in either arm, Newcombe",
        )
    return Need(statistics.smallest_edge_n(tolerance, conf), "no loss in either arm")


def _compare(rule: Compare, decide: Decide) -> Need:
    linear = linearize(Difference(rule.left, rule.right))
    if linear is None or not linear.weights:
        return Need(statistics.MIN_UNITS, "a bootstrap needs as many")
    if rule.op in ("==", "!="):
        return Need(None, "equality is not decided by an interval") if rule.op == "==" else Need(1)
    sign = 1 if rule.op in (">", ">=") else -1
    weights = [weight * sign for _, weight in linear.weights]
    limit = -linear.constant * sign
    if len(weights) == 1 and weights[0] in (1, -1):
        return _single(limit if weights[0] == 1 else 1 + limit, rule.op, decide)
    if sorted(weights) == [-1, 1]:
        return _difference(limit, decide)
    return Need(statistics.MIN_UNITS, "a bootstrap needs as many")


def _single(limit: Fraction, op: str, decide: Decide) -> Need:
    """A share of successes above `limit`, every trial a success."""
    if limit < 0 or limit > 1 or (limit == 1 and op in (">", "<")):
        if limit <= 0:
            return Need(statistics.MIN_UNITS, "a bootstrap needs as many")
        return Need(statistics.MIN_UNITS, "no share lies there; for other numbers a bootstrap")
    if limit == 1:
        return Need(None, "a share of exactly 1 is never shown by an interval; decide by point")
    if limit == 0:
        return Need(1, "every sample a success")
    conf = float(decide.conf)
    if decide.method == "wilson":
        return _search(lambda n: statistics.wilson(n, n, conf).lo >= limit, "every one a success")
    return Need(statistics.smallest_edge_n(float(1 - limit), conf), "no loss")


def _difference(limit: Fraction, decide: Decide) -> Need:
    conf = float(decide.conf)
    if limit >= 1:
        return Need(statistics.MIN_UNITS, "no difference of shares lies there; else a bootstrap")
    if limit < 0:
        if limit <= -1:
            return Need(1)
        if decide.method == "newcombe":
            return _search(
                lambda n: statistics.newcombe(n, n, n, n, conf).lo >= limit,
                "no loss in either arm, Newcombe",
            )
        return Need(statistics.smallest_edge_n(float(-limit), conf), "no loss in either arm")
    return _search(
        lambda n: statistics.newcombe(n, n, 0, n, conf).lo > limit,
        "all in one arm, none in the other",
    )


def _search(passes: object, why: str) -> Need:
    assert callable(passes)
    low, high = 1, 1
    while not passes(high):
        low, high = high, high * 2
        if high > _SEARCH:
            return Need(None, f"more than {_SEARCH} samples")
    while low < high:
        middle = (low + high) // 2
        if passes(middle):
            high = middle
        else:
            low = middle + 1
    return Need(high, why)


def _trend(decide: Decide) -> Need:
    alpha = 1 - float(decide.conf)
    count = next(n for n in range(2, 20) if 1 / math.factorial(n) <= alpha)
    return Need(count, "every pair of points in the right order")
