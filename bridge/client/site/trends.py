"""Every metric of every preset over the commits whose code ran, by hardware. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.records import clean_text
from evidence.numbers import is_decimal

MAX_METRICS = 400
"""Metrics of one record that are followed."""
_MAX_NAME, _MAX_PLACE = 100, 120


@dataclass(slots=True)
class Point:
    """What was measured of one commit on one kind of hardware.

    Attributes:
        first_ms: when the first of its jobs was asked for.
        count, total, low, high: of the values.
        last_id: the newest of its jobs.
    """

    first_ms: int
    count: int
    total: float
    low: float
    high: float
    last_id: str

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return self.total / self.count

    def add(self, value: float, at_ms: int, job_id: str) -> None:
        """Take one more value."""
        self.first_ms = min(self.first_ms, at_ms)
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.last_id = max(self.last_id, job_id)


@dataclass(frozen=True, slots=True)
class Key:
    """One quantity: of which preset, which metric, which arm, at which place, in which unit."""

    preset: str
    metric: str
    arm: str
    at: str
    unit: str


@dataclass(slots=True)
class Trends:
    """The points of every quantity, by commit and hardware."""

    points: dict[Key, dict[tuple[str, str], Point]] = field(default_factory=dict)

    def add(
        self, record: Mapping[str, Any], *, preset: str, code: str, hardware: str, at_ms: int
    ) -> None:
        """Take the metrics of one record, of any shape."""
        job_id = str(record.get("id", ""))[:26]
        for key, value in _values(record, preset):
            series = self.points.setdefault(key, {})
            point = series.get((code, hardware))
            if point is None:
                series[code, hardware] = Point(at_ms, 1, value, value, value, job_id)
            else:
                point.add(value, at_ms, job_id)

    def as_json(self) -> list[Any]:
        """The points as they are kept between two builds."""
        return [
            [
                [key.preset, key.metric, key.arm, key.at, key.unit],
                [
                    [*where, one.first_ms, one.count, one.total, one.low, one.high, one.last_id]
                    for where, one in series.items()
                ],
            ]
            for key, series in self.points.items()
        ]

    def by_metric(self) -> dict[str, dict[str, list[Key]]]:
        """The quantities of each metric of each preset, in the order of their names."""
        found: dict[str, dict[str, list[Key]]] = {}
        for key in sorted(self.points, key=lambda one: (one.preset, one.metric)):
            found.setdefault(key.preset, {}).setdefault(key.metric, []).append(key)
        return found


def trends_from_json(data: Iterable[Any]) -> Trends:
    """The points that an earlier build kept."""
    found = Trends()
    for words, series in data:
        found.points[Key(*words)] = {
            (code, hardware): Point(*rest) for code, hardware, *rest in series
        }
    return found


def _values(record: Mapping[str, Any], preset: str) -> Iterator[tuple[Key, float]]:
    rows = record.get("metrics")
    for row in (rows if isinstance(rows, list) else [])[:MAX_METRICS]:
        if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
            continue
        text = row.get("value")
        if not is_decimal(text) or not math.isfinite(float(str(text))):
            continue
        at = row.get("at")
        places = at.items() if isinstance(at, Mapping) else ()
        place = ", ".join(f"{name} {value}" for name, value in places)
        key = Key(
            preset,
            clean_text(row["name"], _MAX_NAME),
            clean_text(str(row.get("arm") or ""), _MAX_NAME),
            clean_text(place, _MAX_PLACE),
            clean_text(str(row.get("unit") or ""), _MAX_NAME),
        )
        yield key, float(str(text))
