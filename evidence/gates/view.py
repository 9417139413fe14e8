"""What a gate may look at: metrics, tables and digests of one record, read from JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from bridge import canonical
from bridge.errors import ManifestError
from evidence.metrics import Coordinates, Metric
from evidence.numbers import format_coordinate, read_number
from evidence.reducers import ALIASES, REDUCERS


@dataclass(frozen=True, slots=True)
class View:
    """One record as the gates see it.

    Attributes:
        metrics: every metric, in the record's order.
        dims: the planned places of each dimension.
        cases: verdict and gate digest by case, None where the record has no table.
        digests: what `same` compares.
        sets: what `disjoint` compares.
        cover: what `cover` counts.
        changed_paths: what `untouched` reads, None where the record does not say.
        seed: what a bootstrap's random choices depend on.
    """

    metrics: tuple[Metric, ...] = ()
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cases: Mapping[str, tuple[str, str]] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cover: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changed_paths: tuple[str, ...] | None = None
    seed: str = ""

    def swap(self, old: Metric, new: Metric) -> View:
        """The same view with one metric exchanged."""
        return replace(self, metrics=tuple(new if one is old else one for one in self.metrics))


def read_view(data: object, *, where: str = "record") -> View:
    """The view of a record: `kakeya.evidence/1`, or the plain form of the seed gates.

    Raises:
        ManifestError: the record does not have the shape of one; each fault at its path.
    """
    if not isinstance(data, Mapping):
        raise ManifestError("a record is a JSON object", where=where)
    problems: list[str] = []
    metrics = tuple(
        _read_metric(item, f"$.metrics[{index}]", problems)
        for index, item in enumerate(_sequence(data, "metrics", problems))
    )
    cover = _read_lists(data, "cover", problems)
    seeds = data.get("seeds")
    if "seeds" not in cover and isinstance(seeds, Mapping):
        cover["seeds"] = tuple(map(format_coordinate, seeds.get("run", ())))
    changed = data.get("changed_paths")
    digests = data.get("digests") or {}
    if not isinstance(digests, Mapping):
        problems.append("$.digests: an object is wanted")
        digests = {}
    view = View(
        metrics=metrics,
        dims=_read_lists(data, "dims", problems),
        cases=_read_cases(data.get("cases"), problems),
        digests={str(key): str(value) for key, value in digests.items() if value is not None},
        sets=_read_lists(data, "sets", problems),
        cover=cover,
        changed_paths=None if changed is None else tuple(map(str, changed)),
        seed=_seed_of(data),
    )
    if problems:
        raise ManifestError("not a record", where=where, problems=tuple(problems[:20]))
    return view


def _seed_of(data: Mapping[str, Any]) -> str:
    samples = data.get("samples")
    if isinstance(samples, Mapping) and "sha256" in samples:
        return str(samples["sha256"])
    return canonical.digest({"metrics": data.get("metrics", [])})


def _sequence(data: Mapping[str, Any], key: str, problems: list[str]) -> Sequence[Any]:
    value = data.get(key) or []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    problems.append(f"$.{key}: a list is wanted")
    return []


def _read_lists(
    data: Mapping[str, Any], key: str, problems: list[str]
) -> dict[str, tuple[str, ...]]:
    table = data.get(key) or {}
    if not isinstance(table, Mapping):
        problems.append(f"$.{key}: an object of lists is wanted")
        return {}
    found = {}
    for name, items in table.items():
        if not isinstance(items, Sequence) or isinstance(items, str):
            problems.append(f"$.{key}.{name}: a list is wanted")
            continue
        found[str(name)] = tuple(map(format_coordinate, items))
    return found


def _read_cases(table: object, problems: list[str]) -> dict[str, tuple[str, str]] | None:
    if table is None:
        return None
    if not isinstance(table, Mapping):
        problems.append("$.cases: an object is wanted")
        return None
    found = {}
    for name, case in table.items():
        verdict = case.get("verdict", case.get("v")) if isinstance(case, Mapping) else None
        if not isinstance(verdict, str):
            problems.append(f"$.cases.{name}: an object with a verdict is wanted")
            continue
        found[str(name)] = (verdict, str(case.get("gate", "")))
    return found


def _read_metric(item: object, path: str, problems: list[str]) -> Metric:
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        problems.append(f"{path}: an object with a name is wanted")
        return Metric("")
    name, arm, unit = item["name"], item.get("arm"), item.get("unit")
    at = item.get("at") or {}
    if not isinstance(at, Mapping):
        problems.append(f"{path}.at: an object is wanted")
        at = {}
    reducer = str(item.get("reducer", "mean"))
    metric = Metric(
        name=name,
        arm=None if arm is None else str(arm),
        at=read_places(at),
        unit=None if unit is None else str(unit),
        stat=ALIASES.get(reducer, reducer) if ALIASES.get(reducer, reducer) in REDUCERS else "mean",
    )
    try:
        return _with_numbers(metric, item)
    except (ValueError, TypeError, AttributeError) as error:
        return replace(metric, fault=str(error))


def read_places(at: Mapping[str, Any]) -> Coordinates:
    """Coordinates from JSON data, sorted by dimension."""
    return tuple(sorted((str(key), format_coordinate(value)) for key, value in at.items()))


def _with_numbers(metric: Metric, item: Mapping[str, Any]) -> Metric:
    if item.get("k") is not None and item.get("n") is not None:
        return with_counts(metric, item["k"], item["n"])
    if "values" in item:
        return _with_values(metric, item)
    value = read_number(item.get("value"))
    interval = item.get("ci")
    bounds = None
    if isinstance(interval, Mapping) and interval:
        lo, hi, level = (read_number(interval.get(key)) for key in ("lo", "hi", "level"))
        if lo is not None and hi is not None and level is not None:
            bounds = (float(lo), float(hi), float(level))
    size = item.get("n")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
        raise ValueError("n is no whole number")
    return replace(metric, value=value, n=size, interval=bounds, missing=value is None)


def with_counts(metric: Metric, k: object, n: object) -> Metric:
    """The metric as `k` successes of `n`; a fault where they are no counts, absent where n is 0.

    Raises:
        ValueError: `k` or `n` is no whole number, or `k` lies outside 0..n.
    """
    if any(isinstance(count, bool) or not isinstance(count, int) for count in (k, n)):
        raise ValueError("k and n are whole numbers")
    assert isinstance(k, int)
    assert isinstance(n, int)
    if n < 0 or not 0 <= k <= max(n, 0):
        raise ValueError(f"k={k} of n={n} cannot be")
    return replace(metric, k=k, n=n, missing=n == 0)


def _with_values(metric: Metric, item: Mapping[str, Any]) -> Metric:
    numbers = [read_number(value) for value in item["values"]]
    if not numbers or None in numbers:
        return replace(metric, missing=True)
    values = tuple(number for number in numbers if number is not None)
    return replace(
        metric,
        values=values,
        keys=tuple(map(str, item.get("keys", ())))
        if len(item.get("keys", ())) == len(values)
        else (),
        clusters=tuple(map(str, item.get("clusters", ())))
        if len(item.get("clusters", ())) == len(values)
        else (),
    )


def number_of(metric: Metric) -> Fraction:
    """The metric as one number: its figure, its share of successes, or its own reducer's value."""
    if metric.is_proportion:
        assert metric.k is not None
        assert metric.n is not None
        return Fraction(metric.k, metric.n)
    if metric.values:
        return REDUCERS[metric.stat](metric.values)
    assert metric.value is not None
    return metric.value
