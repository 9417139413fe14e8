"""Figures of one metric (ladder, heat map, dots, paired samples), and the time line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from evidence.gates.view import number_of
from evidence.metrics import Metric
from evidence.report import svg
from evidence.report.text import short
from evidence.samples import Sample

WIDTH, HEIGHT = 460.0, 250.0
LEFT, RIGHT, BOTTOM = 46.0, 448.0, 214.0
MAX_DOTS = 1500
MAX_PAIRS = 200


def _frame(
    domain: tuple[float, float], top: float, *, unit: str = ""
) -> tuple[list[str], float, float, float]:
    """Grid lines and numbers of a y axis; the pieces, slope, offset and the true top."""
    marks = svg.ticks(*domain)
    slope, offset = svg.scale(
        (marks[0], marks[-1] if len(marks) > 1 else marks[0] + 1), (BOTTOM, top)
    )
    pieces = []
    for mark in marks:
        y = mark * slope + offset
        pieces.append(svg.line((LEFT, y), (RIGHT, y), "line"))
        pieces.append(
            svg.text(LEFT - 6, y + 4, svg.axis_number(mark), anchor="end", kind="soft small")
        )
    if unit not in ("", "1"):
        pieces.append(svg.text(LEFT, top - 6, unit, kind="soft small"))
    return pieces, slope, offset, top


def _centres(count: int) -> list[float]:
    step = (RIGHT - LEFT) / count
    return [LEFT + step * (index + 0.5) for index in range(count)]


def draw_ladder(
    title: str, rows: Sequence[Mapping[str, Any]], places: Sequence[str], x: str
) -> svg.Plot | None:
    """Value with interval at every place of a dimension, one line for each arm."""
    rows = [row for row in rows if row["value"] is not None and x in row["at"]]
    if not rows:
        return None
    arms = list(dict.fromkeys(row["arm"] or "" for row in rows))
    pieces, used = svg.legend(arms, 16, WIDTH) if len(arms) > 1 or arms[0] else ([], 0.0)
    values = [float(row["value"]) for row in rows]
    values += [float(row["ci"][side]) for row in rows if row["ci"] for side in ("lo", "hi")]
    share = rows[0]["k"] is not None
    domain = (0.0, 1.0) if share else (min(0.0, *values), max(values))
    frame, slope, offset, _ = _frame(domain, 20 + used, unit=rows[0]["unit"] or "")
    pieces += frame
    centres = dict(zip(places, _centres(len(places)), strict=True))
    for name, centre in centres.items():
        pieces.append(svg.text(centre, BOTTOM + 17, name, anchor="middle", kind="soft"))
    pieces.append(svg.text((LEFT + RIGHT) / 2, BOTTOM + 32, x, anchor="middle", kind="soft small"))
    for index, arm in enumerate(arms):
        shift = (index - (len(arms) - 1) / 2) * 9
        found = {row["at"][x]: row for row in rows if (row["arm"] or "") == arm}
        points = []
        for name, centre in centres.items():
            if name not in found:
                continue
            row = found[name]
            spot = (centre + shift, float(row["value"]) * slope + offset)
            if row["ci"]:
                lo, hi = (float(row["ci"][side]) * slope + offset for side in ("lo", "hi"))
                pieces.append(svg.line((spot[0], lo), (spot[0], hi), svg.arm_colour(index), 2))
            points.append(spot)
        for one, two in pairwise(points):
            pieces.append(svg.line(one, two, svg.arm_colour(index), 1.2))
        pieces += [svg.dot(*spot, svg.arm_colour(index), radius=5) for spot in points]
    description = "; ".join(_say(row) for row in rows)
    name = svg.plot_name("ladder", rows[0]["name"])
    drawn = svg.picture(name, title, description, (WIDTH, HEIGHT), pieces)
    return svg.Plot(name, title, "Bars are the metric's own intervals.", description, drawn)


def _say(row: Mapping[str, Any]) -> str:
    where = ", ".join(
        [*([row["arm"]] if row["arm"] else []), *(f"{k} {v}" for k, v in row["at"].items())]
    )
    count = f" ({row['k']} of {row['n']})" if row["k"] is not None else ""
    return f"{where}: {short(row['value'])}{count}"


def draw_heatmap(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    arm: str,
    axes: tuple[str, str],
    places: tuple[Sequence[str], Sequence[str]],
) -> svg.Plot | None:
    """One arm's values over two dimensions; every cell says its count or value."""
    found = {
        (row["at"].get(axes[0]), row["at"].get(axes[1])): row
        for row in rows
        if (row["arm"] or "") == arm and row["value"] is not None
    }
    if not found:
        return None
    share = all(row["k"] is not None for row in found.values())
    values = [float(row["value"]) for row in rows if row["value"] is not None]
    lo, hi = (0.0, 1.0) if share else (min(values), max(values))
    pieces, size = _grid(found, axes, places, (lo, hi))
    description = "; ".join(_say(row) for row in found.values())
    name = svg.plot_name("heatmap", rows[0]["name"], arm or "all")
    heading = f"{title}: {arm}" if arm else title
    caption = "Successes of trials in each cell." if share else "A stronger colour is more."
    return svg.Plot(
        name, heading, caption, description, svg.picture(name, heading, description, size, pieces)
    )


def _grid(
    found: Mapping[tuple[str, str], Mapping[str, Any]],
    axes: tuple[str, str],
    places: tuple[Sequence[str], Sequence[str]],
    domain: tuple[float, float],
) -> tuple[list[str], tuple[float, float]]:
    """The cells with their axes, and the size of it all."""
    left, top, cell = 54.0, 10.0, 34.0
    wide = min(124.0, (RIGHT - left) / len(places[0]))
    pieces: list[str] = []
    for row_index, y in enumerate(places[1]):
        middle = top + row_index * cell + cell / 2
        pieces.append(svg.text(left - 8, middle + 4, y, anchor="end", kind="soft"))
        for column, x in enumerate(places[0]):
            corner = (left + column * wide, top + row_index * cell)
            pieces += _cell(found.get((x, y)), corner, (wide, cell), domain)
    end = top + len(places[1]) * cell
    for column, x in enumerate(places[0]):
        centre = left + (column + 0.5) * wide
        pieces.append(svg.text(centre, end + 17, x, anchor="middle", kind="soft"))
    axis = f"{axes[1]} down, {axes[0]} across"
    pieces.append(svg.text(left, end + 35, axis, kind="soft small"))
    return pieces, (max(WIDTH, left + wide * len(places[0]) + 8), end + 42)


def _cell(
    row: Mapping[str, Any] | None,
    corner: tuple[float, float],
    size: tuple[float, float],
    domain: tuple[float, float],
) -> list[str]:
    x, y, width, height = corner[0] + 1, corner[1] + 1, size[0] - 2, size[1] - 2
    if row is None:
        style = "fill:none;stroke:var(--line);stroke-dasharray:3 3"
        return [
            svg.box(x, y, width, height, style),
            svg.text(x + width / 2, y + height / 2 + 4, "–", anchor="middle", kind="soft"),
        ]
    span = domain[1] - domain[0]
    share = (float(row["value"]) - domain[0]) / span if span else 1.0
    tint = round(6 + 84 * min(1.0, max(0.0, share)))
    style = f"fill:color-mix(in srgb,var(--heat) {tint}%,var(--surface))"
    words = f"{row['k']}/{row['n']}" if row["k"] is not None else short(row["value"], 3)
    ink = ' style="fill:var(--heat-ink)"' if tint > 72 else ""
    label = svg.text(x + width / 2, y + height / 2 + 4, words, anchor="middle", kind="strong")
    return [svg.box(x, y, width, height, style), label.replace("<text", f"<text{ink}", 1)]


def draw_dots(title: str, metric: str, rows: Sequence[Sample], *, share: bool) -> svg.Plot | None:
    """Every sample as a dot, by arm and seed; shares as one dot for each arm and seed."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.score is not None:
            groups.setdefault((row.arm, row.seed), []).append(float(row.score))
    if not groups:
        return None
    arms = list(dict.fromkeys(arm for arm, _ in groups))
    pieces, used = svg.legend(arms, 16, WIDTH)
    scores = [score for found in groups.values() for score in found]
    domain = (0.0, 1.0) if share else (min(scores), max(scores))
    frame, slope, offset, _ = _frame(domain, 20 + used)
    pieces += frame
    for (key, found), centre in zip(groups.items(), _centres(len(groups)), strict=True):
        label = f"seed {key[1]}" if len(groups) <= 6 else key[1]
        pieces.append(svg.text(centre, BOTTOM + 17, label, anchor="middle", kind="soft small"))
        heights = [score * slope + offset for score in found]
        room = ((RIGHT - LEFT) / len(groups), MAX_DOTS // len(groups))
        pieces += _strip(heights, centre, svg.arm_colour(arms.index(key[0])), room, share=share)
    described = "; ".join(
        f"{arm} seed {seed}: mean {sum(found) / len(found):.4g} of {len(found)}"
        for (arm, seed), found in groups.items()
    )
    name = svg.plot_name("dots", metric)
    what = "Share of successes" if share else "Samples, with a bar at their mean,"
    drawn = svg.picture(name, title, described, (WIDTH, BOTTOM + 26), pieces)
    return svg.Plot(name, title, f"{what} for each seed.", described, drawn)


def _strip(
    heights: Sequence[float], centre: float, colour: str, room: tuple[float, int], *, share: bool
) -> list[str]:
    """The dots of one arm and seed: one for a share, else each sample beside a bar at the mean."""
    mean = sum(heights) / len(heights)
    ends = ((centre - 16, mean), (centre + 16, mean))
    if share:
        return [svg.line(*ends, colour, 2), svg.dot(centre, mean, colour, radius=5.5)]
    width = min(60.0, room[0] * 0.7)
    dots = [
        svg.dot(centre + ((index * 0.618034) % 1 - 0.5) * width, height, colour, radius=3)
        for index, height in enumerate(heights[: max(1, room[1])])
    ]
    return [*dots, svg.line(*ends, "ink", 2)]


def draw_paired(title: str, one: Metric, two: Metric) -> svg.Plot | None:
    """The same units in two arms, joined by lines."""
    other = dict(zip(two.keys, two.values, strict=False))
    pairs = [
        (float(score), float(other[key]))
        for key, score in zip(one.keys, one.values, strict=False)
        if key in other
    ]
    if not pairs:
        return None
    flat = [score for pair in pairs for score in pair]
    pieces, slope, offset, _ = _frame((min(flat), max(flat)), 24)
    left, right = LEFT + 70, RIGHT - 70
    risen = sum(b > a for a, b in pairs)
    fallen = sum(b < a for a, b in pairs)
    for a, b in pairs[:MAX_PAIRS]:
        colour = "a0" if b >= a else "a1"
        pieces.append(
            svg.line((left, a * slope + offset), (right, b * slope + offset), colour, 0.9)
        )
    for x, metric in ((left, one), (right, two)):
        label = metric.arm or metric.name
        mean = float(number_of(metric)) * slope + offset
        pieces.append(svg.text(x, BOTTOM + 17, label, anchor="middle"))
        pieces.append(svg.dot(x, mean, "ink", radius=5.5))
    words = (
        f"{len(pairs)} units: {risen} higher in {two.arm}, {fallen} lower, the dots are the metric"
    )
    name = svg.plot_name("paired", one.name, *(place for _, place in one.at))
    drawn = svg.picture(name, title, words, (WIDTH, BOTTOM + 26), pieces)
    return svg.Plot(name, title, words, words, drawn)


def draw_timeline(timings: Mapping[str, Any]) -> svg.Plot | None:
    """From the request to the end, with the time of each step."""
    marks = [(name, moment) for name in timings if (moment := _moment(timings[name])) is not None]
    marks.sort(key=lambda pair: pair[1])
    if len(marks) < 2 or marks[-1][1] == marks[0][1]:
        return None
    slope, offset = svg.scale((marks[0][1], marks[-1][1]), (LEFT, RIGHT))
    pieces, words = [], []
    for index, ((name, start), (after, end)) in enumerate(pairwise(marks)):
        x, width = start * slope + offset, (end - start) * slope
        style = f"fill:var(--{svg.arm_colour(index)})"
        pieces.append(svg.box(x, 8, max(1.0, width - 1), 16, style))
        told = f"{name} → {after}: {end - start:.3g} s"
        words.append(told)
        y = 44 + index * 17
        pieces += [svg.dot(LEFT + 5, y - 4, svg.arm_colour(index)), svg.text(LEFT + 16, y, told)]
    size = (WIDTH, 34 + 17.0 * len(words))
    drawn = svg.picture("timeline", "Time line", "; ".join(words), size, pieces)
    return svg.Plot(
        "timeline", "Time line", "From the request to the end.", "; ".join(words), drawn
    )


def _moment(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None
