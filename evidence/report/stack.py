"""Parts of a whole, one upon the other: where the time or the bytes of each arm go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evidence.report import svg
from evidence.report.labels import LETTER
from evidence.report.text import short

WIDTH, LEFT, RIGHT, BAR, GAP = 460.0, 92.0, 400.0, 24.0, 14.0


def draw_stack(
    title: str, rows: Sequence[Mapping[str, Any]], places: Sequence[str], x: str
) -> svg.Plot | None:
    """One bar for each arm, a segment for each place of a dimension, the sum behind it."""
    found = {
        (row["arm"] or "", row["at"][x]): float(row["value"])
        for row in rows
        if row["value"] is not None and x in row["at"] and float(row["value"]) >= 0
    }
    sums: dict[str, float] = {}
    for (arm, _), value in found.items():
        sums[arm] = sums.get(arm, 0.0) + value
    if not sums or max(sums.values()) <= 0:
        return None
    pieces, used = svg.legend(places, 16, WIDTH)
    unit = rows[0]["unit"] if rows[0]["unit"] not in (None, "1") else ""
    told = {arm: f"{short(str(total))} {unit}".strip() for arm, total in sums.items()}
    right = min(RIGHT, WIDTH - 8 - LETTER * max(map(len, told.values())))
    slope, offset = svg.scale((0.0, max(sums.values())), (LEFT, right))
    words = []
    for index, (arm, said) in enumerate(told.items()):
        top = used + 12 + index * (BAR + GAP)
        start = 0.0
        pieces.append(svg.text(LEFT - 8, top + BAR * 0.68, arm, anchor="end"))
        for place, name in enumerate(places):
            value = found.get((arm, name), 0.0)
            style = f"fill:var(--{svg.arm_colour(place)})"
            pieces.append(svg.box(start * slope + offset, top, value * slope, BAR, style))
            start += value
        pieces.append(
            svg.text(start * slope + offset + 5, top + BAR * 0.68, said, kind="soft small")
        )
        parts = ", ".join(
            f"{name} {short(str(found[arm, name]))}" for name in places if (arm, name) in found
        )
        words.append(f"{arm}: {parts}; together {said}")
    size = (WIDTH, used + 12 + len(sums) * (BAR + GAP))
    name = svg.plot_name("stack", rows[0]["name"])
    description = "; ".join(words)
    drawn = svg.picture(name, title, description, size, pieces)
    caption = "Each part is the metric's own number; they are added up."
    return svg.Plot(name, title, caption, description, drawn)
