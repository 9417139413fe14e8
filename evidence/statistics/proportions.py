"""Intervals and tests for counts of successes. Pure.

Sources: Wilson 1927; Clopper and Pearson 1934; Newcombe, Statistics in Medicine 17 (1998)
873-890, method 10; McNemar 1947 in its exact form; Hanley and Lippman-Hand 1983 (rule of three).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evidence.statistics.special import beta_quantile, binomial_tail, normal_quantile


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        lo: lower bound, -inf where only the upper one was asked for.
        hi: upper bound.
        level: confidence of the statement, as a fraction such as 0.95.
        method: the name of the method, as the tables in docs/gates.md give it.
        sided: "two", "one" (a bound at `level`, the other side is the edge of what is possible),
            or "tost" (each bound holds at `level` by itself).
    """

    lo: float
    hi: float
    level: float
    method: str
    sided: str = "two"


def wilson(k: int, n: int, level: float) -> Interval:
    """Wilson's score interval for `k` of `n`, two-sided."""
    z = normal_quantile(0.5 + level / 2)
    p, z2 = k / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    lo = 0.0 if k == 0 else centre - half
    hi = 1.0 if k == n else centre + half
    return Interval(lo, hi, level, "wilson")


def clopper_pearson(k: int, n: int, level: float) -> Interval:
    """The exact two-sided interval for `k` of `n`."""
    alpha = 1 - level
    lo = 0.0 if k == 0 else beta_quantile(alpha / 2, k, n - k + 1)
    hi = 1.0 if k == n else beta_quantile(1 - alpha / 2, k + 1, n - k)
    return Interval(lo, hi, level, "exact")


def exact_edge(k: int, n: int, level: float) -> Interval:
    """The exact one-sided bound where every trial fell the same way (`k` is 0 or `n`).

    With no losses in `n` the loss rate lies below 1 - (1 - level)**(1/n), about 3/n at 95 %
    (the rule of three).

    Raises:
        ValueError: `k` is neither 0 nor `n`.
    """
    if k not in (0, n):
        raise ValueError(f"{k} of {n} does not lie on the edge")
    bound = -math.expm1(math.log(1 - level) / n)
    lo, hi = (0.0, bound) if k == 0 else (1.0 - bound, 1.0)
    return Interval(lo, hi, level, "exact", "one")


def newcombe(k1: int, n1: int, k2: int, n2: int, level: float) -> Interval:
    """Newcombe's hybrid score interval for p1 - p2 of two independent samples."""
    p1, p2 = k1 / n1, k2 / n2
    one, two = wilson(k1, n1, level), wilson(k2, n2, level)
    difference = p1 - p2
    lo = difference - math.hypot(p1 - one.lo, two.hi - p2)
    hi = difference + math.hypot(one.hi - p1, p2 - two.lo)
    return Interval(max(-1.0, lo), min(1.0, hi), level, "newcombe")


def edge_difference(k1: int, n1: int, k2: int, n2: int, level: float) -> Interval:
    """Exact bounds on p1 - p2 where both samples lie on the same edge, pairing not assumed.

    p1 >= its own exact bound and p2 <= 1 together bound the loss; so no losses in 59 exclude a
    drop of 5 points at 95 %.
    """
    one, two = exact_edge(k1, n1, level), exact_edge(k2, n2, level)
    if k1 == 0:
        return Interval(-two.hi, one.hi, level, "exact", "one")
    return Interval(one.lo - 1.0, 1.0 - two.lo, level, "exact", "one")


def mcnemar(gains: int, losses: int) -> float:
    """The exact two-sided McNemar p-value of the discordant pairs."""
    discordant = gains + losses
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * binomial_tail(max(gains, losses), discordant))


def mcnemar_interval(gains: int, losses: int, n: int, level: float) -> Interval:
    """The interval of p1 - p2 that inverts the exact McNemar test, given the discordant pairs.

    It excludes 0 exactly when `mcnemar` is at most 1 - level; it treats the share of discordant
    pairs as known, so it decides against 0 only.
    """
    discordant = gains + losses
    share = clopper_pearson(gains, discordant, level)
    scale = discordant / n
    return Interval((2 * share.lo - 1) * scale, (2 * share.hi - 1) * scale, level, "mcnemar")


def smallest_edge_n(bound: float, level: float) -> int:
    """The smallest n at which no losses in n bound the loss rate by `bound` at `level`."""
    if not 0 < bound < 1:
        raise ValueError("a loss rate lies between 0 and 1")
    return math.ceil(math.log(1 - level) / math.log1p(-bound) - 1e-12)
