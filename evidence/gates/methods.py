"""Which method fits counts of successes: the table of docs/gates.md as code."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from evidence import statistics
from evidence.gates.pairing import group_rows, pair_counts
from evidence.gates.resolve import Leaf, UnreadError
from evidence.gates.syntax import Decide
from evidence.gates.verdicts import Verdict
from evidence.metrics import Metric
from evidence.reducers import over_units
from evidence.statistics import Interval

_PAIRED = ("mcnemar", "paired-bootstrap")
_SINGLE = ("mean", "min", "max", "median", "first", "last")


@dataclass(frozen=True, slots=True)
class MethodRequest:
    """One interval that is asked for.

    Attributes:
        decide: confidence and method.
        tost: each bound is to hold at `conf` by itself (`within`), else both together.
        at_zero: the interval is compared with a difference of exactly 0.
        seed: what random choices depend on.
    """

    decide: Decide
    tost: bool
    at_zero: bool
    seed: str

    @property
    def conf(self) -> float:
        """The confidence as a float."""
        return float(self.decide.conf)

    @property
    def level(self) -> float:
        """The two-sided level of a method that gives both bounds at once."""
        return 2 * self.conf - 1 if self.tost else self.conf


def as_proportion(leaf: Leaf) -> Metric | None:
    """The one proportion that a leaf reads; scores of 0 and 1 alone count as one."""
    metric = leaf.metrics[0]
    if len(leaf.metrics) != 1 or leaf.stat not in _SINGLE:
        return None
    if metric.is_proportion:
        return metric
    if leaf.stat == "mean" and metric.values and set(metric.values) <= {Fraction(0), Fraction(1)}:
        ones = sum(value == 1 for value in metric.values)
        return Metric(
            metric.name, metric.arm, metric.at, metric.unit, k=ones, n=len(metric.values),
            values=metric.values, keys=metric.keys, clusters=metric.clusters,
        )  # fmt: skip
    return None


def leaf_interval(leaf: Leaf, request: MethodRequest) -> Interval | None:
    """The interval of one metric in closed form, None where only resampling gives one."""
    metric, counted = leaf.metrics[0], as_proportion(leaf)
    if counted is not None and counted.k is not None and counted.n is not None:
        clusters = len(set(counted.clusters)) or counted.n
        if counted.k in (0, counted.n) and request.decide.method != "wilson":
            return statistics.exact_edge(clusters if counted.k else 0, clusters, request.conf)
        if clusters < counted.n:
            return None
        if request.decide.method == "exact":
            return state_sides(
                statistics.clopper_pearson(counted.k, counted.n, request.level), request
            )
        return state_sides(statistics.wilson(counted.k, counted.n, request.level), request)
    if len(leaf.metrics) == 1 and metric.interval is not None and not metric.values:
        lo, hi, level = metric.interval
        if level + 1e-12 >= request.level:
            return Interval(lo, hi, level, "as recorded")
        raise UnreadError(Verdict.INCONCLUSIVE, f"{leaf.label()}: recorded at level {level:g} only")
    return None


def state_sides(interval: Interval, request: MethodRequest) -> Interval:
    """The interval, marked as two one-sided bounds where `within` asked for them."""
    if not request.tost:
        return interval
    return Interval(interval.lo, interval.hi, request.conf, interval.method, "tost")


def difference_interval(one: Metric, two: Metric, request: MethodRequest) -> Interval | None:
    """The interval of p1 - p2, None where it is to be resampled."""
    assert one.k is not None
    assert one.n is not None
    assert two.k is not None
    assert two.n is not None
    method, conf = request.decide.method, request.conf
    counts = (one.k, one.n, two.k, two.n)
    pairs = pair_counts(one, two)
    if method in _PAIRED and pairs is None:
        raise UnreadError(Verdict.ERROR, f"{method}: the units of the two arms do not pair up")
    same_edge = (one.k, two.k) in ((0, 0), (one.n, two.n))
    if same_edge and method != "newcombe":
        return statistics.edge_difference(*counts, conf)
    if method == "bootstrap":
        return None
    if method == "exact":
        left = statistics.clopper_pearson(one.k, one.n, request.level)
        right = statistics.clopper_pearson(two.k, two.n, request.level)
        return state_sides(Interval(left.lo - right.hi, left.hi - right.lo, conf, "exact"), request)
    if pairs is None or method == "newcombe":
        return state_sides(statistics.newcombe(*counts, request.level), request)
    return _paired_interval(one, two, pairs, request)


def _paired_interval(
    one: Metric, two: Metric, pairs: tuple[int, int], request: MethodRequest
) -> Interval:
    size, conf, method = len(one.values), request.conf, request.decide.method
    edge = statistics.exact_edge(0, size, conf).hi
    if pairs == (0, 0):
        return Interval(-edge, edge, conf, "exact", "one")
    if method == "mcnemar" or (method == "auto" and request.at_zero and not request.tost):
        return statistics.mcnemar_interval(*pairs, size, conf)
    return _paired_bootstrap(one, two, edge, pairs, request)


def _paired_bootstrap(
    one: Metric, two: Metric, edge: float, pairs: tuple[int, int], request: MethodRequest
) -> Interval:
    table = group_rows([one, two], paired=True)
    (left, _), (right, _) = table.column(one), table.column(two)
    gains = [over - under for over, under in zip(left, right, strict=True)]
    value = over_units("mean", gains, table.units[0])
    lo, hi = statistics.bootstrap(
        table.units, lambda chosen: value(chosen[0]), request.level, request.seed
    )
    # No loss (or no gain) among the pairs gives a bootstrap nothing to draw: the exact bound of
    # what may have been missed is taken off.
    lo = max(-1.0, lo - edge) if pairs[1] == 0 else lo
    hi = min(1.0, hi + edge) if pairs[0] == 0 else hi
    return state_sides(Interval(lo, hi, request.conf, "paired-bootstrap"), request)
