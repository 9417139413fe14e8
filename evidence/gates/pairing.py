"""Which rows of two metrics belong together, and which are resampled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evidence import statistics
from evidence.metrics import Metric


@dataclass(frozen=True, slots=True)
class Rows:
    """Metrics laid out for resampling.

    Attributes:
        units: for each independent group, its resampling units (lists of row numbers).
        method: the name of the bootstrap this makes.
        places: metric, its column of scores in row order, and its group.
    """

    units: tuple[tuple[tuple[int, ...], ...], ...]
    method: str
    places: tuple[tuple[Metric, tuple[float, ...], int], ...]

    def column(self, metric: Metric) -> tuple[tuple[float, ...], int]:
        """The scores of a metric and the number of its group."""
        return next((column, group) for one, column, group in self.places if one is metric)


def do_pair(one: Metric, two: Metric) -> bool:
    """Whether every unit of one metric has its partner, by unit, seed, place and input, in the
    other.
    """
    return (
        bool(one.keys)
        and len(one.keys) == len(two.keys)
        and len(set(one.keys)) == len(one.keys)
        and set(one.keys) == set(two.keys)
    )


def pair_counts(one: Metric, two: Metric) -> tuple[int, int] | None:
    """Units that succeed in `one` alone and in `two` alone, None where the units do not pair."""
    if not do_pair(one, two):
        return None
    other = dict(zip(two.keys, two.values, strict=True))
    gains = sum(
        score == 1 and other[key] == 0 for key, score in zip(one.keys, one.values, strict=True)
    )
    losses = sum(
        score == 0 and other[key] == 1 for key, score in zip(one.keys, one.values, strict=True)
    )
    return gains, losses


def group_rows(metrics: Sequence[Metric], *, paired: bool) -> Rows:
    """Lay metrics out: those that pair up share a group, so that a unit is drawn for all arms."""
    groups: list[list[Metric]] = []
    for metric in _distinct(metrics):
        home = next((group for group in groups if paired and do_pair(group[0], metric)), None)
        if home is None:
            groups.append([metric])
        else:
            home.append(metric)
    units, places, clustered = [], [], False
    for number, group in enumerate(groups):
        first = group[0]
        order = sorted(range(len(first.keys)), key=first.keys.__getitem__) if len(group) > 1 else []
        clusters = (
            [first.clusters[row] for row in order]
            if order and first.clusters
            else (list(first.clusters))
        )
        clustered = clustered or bool(clusters)
        drawn = (
            statistics.cluster_units(clusters)
            if clusters
            else statistics.single_units(_size(first))
        )
        units.append(tuple(map(tuple, drawn)))
        for metric in group:
            places.append((metric, _column(metric, sort=len(group) > 1), number))
    method = "paired-bootstrap" if any(len(group) > 1 for group in groups) else "bootstrap"
    return Rows(tuple(units), "cluster-bootstrap" if clustered else method, tuple(places))


def _distinct(metrics: Sequence[Metric]) -> list[Metric]:
    found: list[Metric] = []
    for metric in metrics:
        if not any(metric is one for one in found):
            found.append(metric)
    return found


def _size(metric: Metric) -> int:
    return metric.size or 0


def _column(metric: Metric, *, sort: bool) -> tuple[float, ...]:
    scores = [float(value) for value in metric.values]
    if not scores and metric.k is not None and metric.n is not None:
        scores = [1.0] * metric.k + [0.0] * (metric.n - metric.k)
    if not sort:
        return tuple(scores)
    return tuple(score for _, score in sorted(zip(metric.keys, scores, strict=True)))
