"""The `trend` rule: does a series rise or fall?"""

from __future__ import annotations

from fractions import Fraction

from evidence.gates.resolve import Scope, UnreadError, find_metrics
from evidence.gates.syntax import Decide, Trend
from evidence.gates.verdicts import Verdict
from evidence.gates.view import number_of
from evidence.metrics import Metric
from evidence.reducers import REDUCERS
from evidence.statistics import kendall_s, mann_kendall

MAX_POINTS = 60  # the exact null distribution costs the fourth power of this


def judge_trend(rule: Trend, scope: Scope, decide: Decide) -> tuple[Verdict, str, str, int]:
    """Verdict, label, explanation and number of points of a trend.

    By point, the series rises when more pairs rise than fall (Kendall's S above 0); by interval,
    when the exact one-sided Mann-Kendall test says so at `conf`.

    Raises:
        UnreadError: the series is missing, unreadable or shorter than two points.
    """
    metrics = find_metrics(rule.series, scope, series=True)
    faults = [metric.fault for metric in metrics if metric.fault]
    if faults:
        raise UnreadError(Verdict.ERROR, "; ".join(faults))
    if any(metric.missing for metric in metrics):
        raise UnreadError(Verdict.MISSING, f"{rule.series.name}: a point has no samples")
    try:
        points = _points(rule, metrics)
    except ValueError as error:
        raise UnreadError(Verdict.ERROR, f"{rule.series.name}: {error}") from error
    if len(points) < 2:
        raise UnreadError(Verdict.MISSING, f"{rule.series.name}: a trend needs two points")
    sign = 1 if rule.direction == "up" else -1
    s = sign * kendall_s(points)
    pairs = len(points) * (len(points) - 1) // 2
    why = f"{(pairs + s) // 2} of {len(points)} points' {pairs} pairs go {rule.direction}"
    label = metrics[0].label() if len(metrics) == 1 else rule.series.name
    if decide.by == "point":
        return (Verdict.PASS if s > 0 else Verdict.FAIL), label, why, len(points)
    verdict, p = _test(s, len(points), 1 - float(decide.conf))
    return verdict, label, f"{why}, Mann-Kendall p={p:.3g}", len(points)


def _points(rule: Trend, metrics: tuple[Metric, ...]) -> list[Fraction]:
    if len(metrics) == 1 and metrics[0].values and not metrics[0].is_proportion:
        return list(metrics[0].values)
    reduce = REDUCERS[rule.series.stat] if rule.series.stat else None
    return [
        reduce(metric.values) if reduce and metric.values else number_of(metric)
        for metric in metrics
    ]


def _test(s: int, count: int, alpha: float) -> tuple[Verdict, float]:
    if count > MAX_POINTS:
        raise UnreadError(
            Verdict.INCONCLUSIVE, f"{count} points, the exact test takes at most {MAX_POINTS}"
        )
    rising, falling = mann_kendall(s, count), mann_kendall(-s, count)
    if rising <= alpha:
        return Verdict.PASS, rising
    return (Verdict.FAIL if falling <= alpha else Verdict.INCONCLUSIVE), rising
