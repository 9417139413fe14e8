"""Parts of a whole, one upon the other: where the time or the bytes of each arm go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evidence.report import svg
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
    slope, offset = svg.scale((0.0, max(sums.values())), (LEFT, RIGHT))
    unit = rows[0]["unit"] if rows[0]["unit"] not in (None, "1") else ""
    words = []
    for index, (arm, total) in enumerate(sums.items()):
        top = used + 12 + index * (BAR + GAP)
        start = 0.0
        pieces.append(svg.text(LEFT - 8, top + BAR * 0.68, arm, anchor="end"))
        for place, name in enumerate(places):
            value = found.get((arm, name), 0.0)
            style = f"fill:var(--{svg.arm_colour(place)})"
            pieces.append(svg.box(start * slope + offset, top, value * slope, BAR, style))
            start += value
        end, said = start * slope + offset, f"{short(str(total))} {unit}".strip()
        pieces.append(svg.text(end + 5, top + BAR * 0.68, said, kind="soft small"))
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
