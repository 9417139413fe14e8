"""From raw samples to metrics: which rows count, how they are grouped, what each group gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from evidence import statistics
from evidence.gates.rows import interval_row
from evidence.gates.view import number_of
from evidence.metrics import Coordinates, Metric
from evidence.numbers import format_value
from evidence.reducers import REDUCERS, SMOOTH, over_units
from evidence.samples import Sample
from evidence.spec import MetricSpec, Plan, Spec
from evidence.statistics import Interval


@dataclass(frozen=True, slots=True)
class Selection:
    """Which samples count.

    Attributes:
        counted: measured as planned.
        warmup: rows that were marked as warm-up.
        overlap: rows whose input had already warmed the same arm up: no fresh measurement.
        unplanned: rows of a seed, arm or place that the plan does not name.
    """

    counted: tuple[Sample, ...]
    warmup: tuple[Sample, ...]
    overlap: tuple[Sample, ...]
    unplanned: tuple[Sample, ...]


def select(samples: Sequence[Sample], plan: Plan) -> Selection:
    """Sort the samples into those that count and those that do not."""
    warmed = {(row.arm, row.measure, row.input) for row in samples if row.warmup}
    counted, warmup, overlap, unplanned = [], [], [], []
    for row in samples:
        if row.warmup:
            warmup.append(row)
        elif not is_planned(row, plan):
            unplanned.append(row)
        elif (row.arm, row.measure, row.input) in warmed:
            overlap.append(row)
        else:
            counted.append(row)
    return Selection(tuple(counted), tuple(warmup), tuple(overlap), tuple(unplanned))


def is_planned(row: Sample, plan: Plan) -> bool:
    """Whether the plan names the row's seed, arm and places (an empty list names all)."""
    if plan.seeds and row.seed not in plan.seeds:
        return False
    if plan.arms and row.arm not in plan.arms:
        return False
    return all(place in plan.dims[name] for name, place in row.at if name in plan.dims)


def build_metrics(spec: Spec, counted: Iterable[Sample]) -> tuple[Metric, ...]:
    """Every metric of the spec, with one entry for each group of samples it found."""
    rows: dict[str, list[Sample]] = {}
    for row in counted:
        rows.setdefault(row.measure, []).append(row)
    return tuple(
        metric for one in spec.metrics for metric in _build(one, rows.get(one.measure, []))
    )


def _build(spec: MetricSpec, rows: Sequence[Sample]) -> list[Metric]:
    groups: dict[tuple[str | None, Coordinates], list[Sample]] = {}
    for row in rows:
        if reads(spec, row):
            groups.setdefault(_place(spec, row), []).append(row)
    return [_reduce(spec, arm, at, group) for (arm, at), group in groups.items()]


def reads(spec: MetricSpec, row: Sample) -> bool:
    """Whether a metric counts a row: its measure, at the places of its `where`."""
    if row.measure != spec.measure:
        return False
    places = dict(row.at) | {"seed": row.seed}
    return all(places.get(name) == place for name, place in spec.where.items())


def _place(spec: MetricSpec, row: Sample) -> tuple[str | None, Coordinates]:
    places = dict(row.at) | {"seed": row.seed}
    at = tuple(sorted((name, places[name]) for name in spec.by if name in places))
    return (row.arm if "arm" in spec.by else None), at


def _reduce(spec: MetricSpec, arm: str | None, at: Coordinates, rows: list[Sample]) -> Metric:
    if spec.reducer == "proportion":
        return _reduce_proportion(spec, arm, at, rows)
    kept = [row for row in rows if row.score is not None]
    values = tuple(row.score for row in kept if row.score is not None)
    return Metric(
        spec.name, arm, at, spec.unit,
        stat=spec.reducer,
        values=values,
        keys=_keys(kept),
        clusters=_clusters(spec, kept),
        missing=not kept,
        errors=len(rows) - len(kept),
        fault=_fault_of(spec.reducer, values),
    )  # fmt: skip


def _fault_of(reducer: str, values: Sequence[Fraction]) -> str:
    """Why the reducer cannot take these scores, "" where it can."""
    try:
        if values:
            REDUCERS[reducer](values)
    except ValueError as error:
        return str(error)
    return ""


def _reduce_proportion(
    spec: MetricSpec, arm: str | None, at: Coordinates, rows: list[Sample]
) -> Metric:
    scores = [row.score if row.score is not None else Fraction(0) for row in rows]
    odd = next((score for score in scores if score not in (0, 1)), None)
    fault = "" if odd is None else f"a proportion takes scores of 0 and 1, not {format_value(odd)}"
    return Metric(
        spec.name, arm, at, spec.unit,
        k=sum(score == 1 for score in scores),
        n=len(scores),
        values=tuple(scores),
        keys=_keys(rows),
        clusters=_clusters(spec, rows),
        fault=fault,
        errors=sum(row.score is None for row in rows),
    )  # fmt: skip


def _keys(rows: Sequence[Sample]) -> tuple[str, ...]:
    keys = tuple(row.key for row in rows)
    return keys if len(set(keys)) == len(keys) else ()


def _clusters(spec: MetricSpec, rows: Sequence[Sample]) -> tuple[str, ...]:
    if spec.cluster is None:
        return ()
    return tuple(_cluster_of(spec.cluster, row) for row in rows)


def _cluster_of(name: str, row: Sample) -> str:
    known = {"seed": row.seed, "unit": row.unit, "input": row.input} | dict(row.at)
    return known.get(name, "")


def metric_row(metric: Metric, spec: MetricSpec, seed: str) -> dict[str, Any]:
    """A metric as it stands in a record; every real number is a decimal string."""
    value = None
    if not metric.missing and not metric.fault:
        value = format_value(number_of(metric))
    return {
        "name": metric.name,
        "arm": metric.arm,
        "at": dict(metric.at),
        "unit": metric.unit,
        "better": spec.better,
        "n": metric.size or 0,
        "k": metric.k,
        "value": value,
        "ci": interval_row(_own_interval(metric, spec, seed)),
        "reducer": spec.reducer,
        "errors": metric.errors,
        "fault": metric.fault,
    }


def _own_interval(metric: Metric, spec: MetricSpec, seed: str) -> Interval | None:
    """The metric's own interval: Wilson for shares, bootstrap for smooth reducers, else none."""
    if metric.missing or metric.fault:
        return None
    clusters = statistics.cluster_units(metric.clusters) if metric.clusters else []
    if metric.k is not None and metric.n is not None and len(clusters) in (0, metric.n):
        return statistics.wilson(metric.k, metric.n, spec.conf)
    units = clusters or statistics.single_units(len(metric.values))
    on_edge = len(set(metric.values)) == 1
    if (metric.stat not in SMOOTH and metric.k is None) or on_edge:
        return None
    if len(units) < statistics.MIN_UNITS:
        return None
    scores = [float(value) for value in metric.values]
    value = over_units(metric.stat, scores, units)
    lo, hi = statistics.bootstrap(
        [units], lambda chosen: value(chosen[0]), spec.conf, f"{seed} {metric.label()}"
    )
    method = "cluster-bootstrap" if clusters else "bootstrap"
    return Interval(lo, hi, spec.conf, method)


def planned_cells(plan: Plan) -> list[tuple[str | None, str | None, Coordinates]]:
    """Every planned (arm, seed, place); None where the plan names none."""
    names = sorted(plan.dims)
    return [
        (arm, seed, tuple(zip(names, places, strict=True)))
        for arm in plan.arms or (None,)
        for seed in plan.seeds or (None,)
        for places in product(*(plan.dims[name] for name in names))
    ]
