"""The forest plot: every gate's observed value and interval against its threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evidence.report import svg
from evidence.report.text import flatten, interval_text, short, sort_gates

WIDTH, LEFT, RIGHT, ROW, HEADING = 460.0, 12.0, 448.0, 42.0, 22.0
LINE_LENGTH = 78
MAX_ROWS = 40


@dataclass(frozen=True, slots=True)
class Bar:
    """One comparison to draw."""

    gate: str
    label: str
    verdict: str
    observed: float
    lo: float | None
    hi: float | None
    limits: tuple[float, ...]
    op: str
    threshold: str
    words: str


def draw_forest(record: Mapping[str, Any]) -> svg.Plot | None:
    """The forest plot of a record, None where no gate compares numbers."""
    bars = list(_bars(record))
    if not bars:
        return None
    shown = bars[:MAX_ROWS]
    pieces, top, gate = [], 4.0, ""
    for bar in shown:
        if bar.gate != gate:
            gate = bar.gate
            pieces.append(svg.text(LEFT, top + 14, gate, kind="strong"))
            top += HEADING
        pieces += _draw_bar(bar, top)
        top += ROW
    description = "; ".join(f"{bar.gate}: {bar.words}, {bar.verdict}" for bar in shown)
    more = f" {len(bars) - MAX_ROWS} more are in the table." if len(bars) > MAX_ROWS else ""
    caption = (
        "The dot is what was observed, the bar its interval, the upright line the threshold, the "
        f"tinted side passes. Each row has its own scale.{more}"
    )
    title = "Gates against their thresholds"
    drawn = svg.picture("forest", title, description, (WIDTH, top + 6), pieces)
    return svg.Plot("forest", title, caption, description, drawn)


def _bars(record: Mapping[str, Any]) -> Iterator[Bar]:
    for row in sort_gates(record["gates"]):
        for leaf in flatten(row):
            op, _, limit = leaf["threshold"].partition(" ")
            if leaf["observed"] is None:
                continue
            if op.startswith("±"):
                tolerance = float(op[1:])
                op, limits = "within", [-tolerance, tolerance]
            else:
                limits = [float(limit)]
            ci = leaf["ci"]
            yield Bar(
                gate=row["id"],
                label=leaf["label"],
                verdict=leaf.get("verdict", row["own_verdict"]),
                observed=float(leaf["observed"]),
                lo=float(ci["lo"]) if ci else None,
                hi=float(ci["hi"]) if ci else None,
                limits=tuple(limits),
                op=op,
                threshold=leaf["threshold"],
                words=f"{short(leaf['observed'])} {interval_text(ci)} against {leaf['threshold']}",
            )


def _domain(bar: Bar) -> tuple[float, float]:
    values = [bar.observed, *bar.limits]
    values += [edge for edge in (bar.lo, bar.hi) if edge is not None and math.isfinite(edge)]
    lo, hi = min(values), max(values)
    pad = (hi - lo) * 0.12 or max(abs(lo) * 0.1, 0.1)
    return lo - pad, hi + pad


def _draw_bar(bar: Bar, top: float) -> list[str]:
    lo, hi = _domain(bar)
    slope, offset = svg.scale((lo, hi), (LEFT, RIGHT))

    def place(value: float) -> float:
        return min(max(value * slope + offset, LEFT), RIGHT)

    middle = top + 25
    seen = f"{short(str(bar.observed))} · {bar.threshold} · {bar.verdict}"
    room = LINE_LENGTH - int(1.25 * len(seen)) - 1  # strong letters are wider
    label = bar.label if len(bar.label) <= room else f"{bar.label[: room - 1]}…"
    pieces = [
        svg.text(LEFT, top + 11, label, kind="tiny soft"),
        svg.text(RIGHT, top + 11, seen, anchor="end", kind="tiny strong"),
        *_passing_side(bar, place, middle),
        svg.line((LEFT, middle), (RIGHT, middle), "line"),
    ]
    for limit in bar.limits:
        pieces.append(
            svg.line((place(limit), middle - 11), (place(limit), middle + 11), "ink", 1.5)
        )
    if bar.lo is not None and bar.hi is not None:
        pieces.append(svg.line((place(bar.lo), middle), (place(bar.hi), middle), bar.verdict, 5))
    hollow = bar.verdict not in ("pass", "fail")
    pieces.append(svg.dot(place(bar.observed), middle, bar.verdict, radius=5.5, hollow=hollow))
    return pieces


def _passing_side(bar: Bar, place: Any, middle: float) -> list[str]:
    edges = {
        ">": (place(bar.limits[0]), RIGHT),
        ">=": (place(bar.limits[0]), RIGHT),
        "<": (LEFT, place(bar.limits[0])),
        "<=": (LEFT, place(bar.limits[0])),
        "within": (place(bar.limits[0]), place(bar.limits[-1])),
    }.get(bar.op)
    if edges is None:
        return []
    style = "fill:var(--pass);opacity:.13"
    return [svg.box(edges[0], middle - 9, max(0.0, edges[1] - edges[0]), 18, style)]
