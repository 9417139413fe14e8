"""Bootstrap intervals from resampled units or clusters, reproducible from a digest. Pure.

Sources: Efron 1979; Field and Welsh 2007 for the cluster bootstrap.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from itertools import repeat

from evidence.statistics.proportions import Interval

REPLICATES = 2000
MIN_REPLICATES = 500
MAX_DRAWS = 4_000_000  # of rows in one interval: 500 replicates place a bound well where n is large
MIN_UNITS = 5  # fewer units cannot give a two-sided 95 % statement without a model

Units = Sequence[Sequence[int]]
Statistic = Callable[[Sequence[Sequence[int]]], float]


def seeded(digest: str) -> random.Random:
    """A generator that depends on `digest` alone."""
    return random.Random(int.from_bytes(hashlib.sha256(digest.encode()).digest()[:8], "big"))  # noqa: S311


def bootstrap(
    groups: Sequence[Units], statistic: Statistic, level: float, digest: str
) -> tuple[float, float]:
    """The percentile interval of `statistic`.

    Args:
        groups: one entry for each independent sample; each holds its resampling units (a unit is
            the list of row indices that stay together: one row, or the rows of a cluster).
        statistic: from the numbers of the chosen units, one list for each group, to a number
            (`evidence.statistics.units` makes one of a column of scores).
        level: confidence, such as 0.95.
        digest: what the random choices depend on, so that a second reader gets the same bounds.
    """
    generator = seeded(digest)
    size = sum(len(unit) for units in groups for unit in units)
    replicates = max(MIN_REPLICATES, min(REPLICATES, MAX_DRAWS // max(1, size)))
    draw, counts = generator.random, [len(units) for units in groups]
    results = []
    for _ in range(replicates):
        # as many units as there are, with replacement
        chosen = [[int(draw() * count) for _ in repeat(None, count)] for count in counts]
        results.append(statistic(chosen))
    if any(map(math.isnan, results)):  # an undefined replicate (0/0) makes both bounds unknown
        return -math.inf, math.inf
    results.sort()
    return _quantile(results, (1 - level) / 2), _quantile(results, (1 + level) / 2)


def single_units(count: int) -> list[list[int]]:
    """Every row its own unit."""
    return [[index] for index in range(count)]


def cluster_units(clusters: Sequence[str]) -> list[list[int]]:
    """Rows grouped by cluster, in order of first appearance."""
    members: dict[str, list[int]] = {}
    for index, name in enumerate(clusters):
        members.setdefault(name, []).append(index)
    return list(members.values())


def named_interval(bounds: tuple[float, float], level: float, method: str) -> Interval:
    """Bootstrap bounds as an interval."""
    return Interval(bounds[0], bounds[1], level, method)


def _quantile(ordered: Sequence[float], probability: float) -> float:
    place = probability * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:
        return ordered[low]
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
