"""One metric against another: a point for each arm, or a line for each along a dimension."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evidence.report import svg
from evidence.report.axes import Axis, make_axis
from evidence.report.labels import DOT, Box, Label, Pixel, boxes_along, place_labels
from evidence.report.text import short

WIDTH, LEFT, RIGHT, DEEP = 460.0, 52.0, 446.0, 208.0
MIN_FOR_KNEE = 4
MAX_LABELLED = 20
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """Two metrics' numbers at one place, x first, with their intervals where they have any."""

    label: str
    rows: tuple[Row, Row]

    @property
    def at(self) -> tuple[float, float]:
        """Its numbers."""
        return float(self.rows[0]["value"]), float(self.rows[1]["value"])

    def ends(self, side: int) -> tuple[float, float] | None:
        """The interval of x (0) or y (1)."""
        ci = self.rows[side]["ci"]
        lo, hi = (float(ci["lo"]), float(ci["hi"])) if ci else (math.inf, math.inf)
        return (lo, hi) if math.isfinite(lo) and math.isfinite(hi) else None


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one arm (and one place of every other dimension), in their order."""

    name: str
    points: tuple[Point, ...]


def draw_curve(
    title: str, ys: Sequence[Row], xs: Sequence[Row], along: str | None, places: Sequence[str]
) -> svg.Plot | None:
    """The rows of one metric over those of another at the same arm and places.

    Args:
        title: heading.
        ys: rows of the metric that is drawn upwards.
        xs: rows of the metric that is drawn across.
        along: the dimension whose places a line goes through, None where arms are single points.
        places: the places of `along`, in order.
    """
    lines = _find_lines(ys, xs, along, places)
    if not lines:
        return None
    knees = {index: knee for index, line in enumerate(lines) if (knee := find_knee(line.points))}
    named = along is not None and any(line.name for line in lines)
    pieces, used = svg.legend([line.name for line in lines], 16, WIDTH) if named else ([], 0.0)
    top = 28 + used + 15.0 * len(knees)
    across, up = _axes(lines, top)
    pieces += [*_draw_frame(across, up, top), *_names(ys[0], xs[0], (across, up), 14 + used, top)]
    for height, (index, knee) in enumerate(knees.items()):
        whose = f" ({lines[index].name})" if len(lines) > 1 else ""
        colour, y = svg.arm_colour(index), 29 + used + 15 * height
        pieces += _draw_knee(knee, f"{_say_knee(knee)}{whose}", across, colour, (y, top + DEEP))
    taken: list[Box] = []
    labels: list[Label] = []
    every = sum(len(line.points) for line in lines) <= MAX_LABELLED
    for index, line in enumerate(lines):
        drawn, full = _draw_line(line, (across, up), svg.arm_colour(index))
        pieces += drawn
        taken += full
        marked = (line.points[0], line.points[-1], *knees.get(index, ()))
        labels += [
            Label(_spot(point, (across, up)), point.label, svg.arm_colour(index))
            for point in line.points
            if every or point in marked
        ]
    frame = (LEFT + 2, top - 4, RIGHT + 6, top + DEEP)
    pieces += place_labels(labels, taken, frame)
    words = [_say(line, along) for line in lines]
    words += [f"{_say_knee(knee)} ({lines[index].name})" for index, knee in knees.items()]
    name, description = svg.plot_name("curve", ys[0]["name"], xs[0]["name"]), "; ".join(words)
    drawn_whole = svg.picture(name, title, description, (WIDTH, top + DEEP + 44), pieces)
    caption = _caption(along, (across, up), knee=bool(knees))
    return svg.Plot(name, title, caption, description, drawn_whole)


def find_knee(points: Sequence[Point]) -> tuple[Point, Point] | None:
    """The neighbours between which y changes most, None where a line does not tell.

    A line that is short, level, or whose lowest and highest points lie within one another's noise
    has none.
    """
    if len(points) < MIN_FOR_KNEE:
        return None
    low, high = (choose(points, key=lambda point: point.at[1]) for choose in (min, max))
    ends = (low.ends(1) or (low.at[1],) * 2, high.ends(1) or (high.at[1],) * 2)
    if ends[0][1] >= ends[1][0]:
        return None
    return max(pairwise(points), key=lambda pair: abs(pair[1].at[1] - pair[0].at[1]))


def _find_lines(
    ys: Sequence[Row], xs: Sequence[Row], along: str | None, places: Sequence[str]
) -> list[Line]:
    order = {place: index for index, place in enumerate(places)}
    found: dict[str, list[tuple[int, Point]]] = {}
    for where, y, x in _pairs(ys, xs):
        rest = [key for key in where if key not in ("arm", along)]
        name = ", ".join([*([where["arm"]] if "arm" in where else []),
                          *(f"{key} {where[key]}" for key in rest)])  # fmt: skip
        place = where.get(along or "")
        point = Point(name if place is None else place, (x, y))
        found.setdefault(name, []).append((order.get(place or "", -1), point))
    return [
        Line(name, tuple(point for _, point in sorted(points, key=lambda pair: pair[0])))
        for name, points in found.items()
    ]


def _pairs(ys: Sequence[Row], xs: Sequence[Row]) -> Iterator[tuple[dict[str, str], Row, Row]]:
    """Rows of two metrics that agree in the arm and every dimension that both have."""
    for y in ys:
        for x in xs:
            one, two = _where(y), _where(x)
            measured = y["value"] is not None and x["value"] is not None
            if measured and all(one[key] == two[key] for key in one.keys() & two.keys()):
                yield one | two, y, x


def _where(row: Row) -> dict[str, str]:
    return {**({"arm": row["arm"]} if row["arm"] else {}), **row["at"]}


def _axes(lines: Sequence[Line], top: float) -> tuple[Axis, Axis]:
    points = [point for line in lines for point in line.points]
    found = []
    for side, room in enumerate(((LEFT + 6, RIGHT - 6), (top + DEEP - 4, top + 4))):
        values = [point.at[side] for point in points]
        bounds = [end for point in points for end in point.ends(side) or ()]
        share = all(point.rows[side]["k"] is not None for point in points)
        found.append(make_axis(values, bounds, room, domain=(0.0, 1.0) if share else None))
    return found[0], found[1]


def _draw_frame(across: Axis, up: Axis, top: float) -> list[str]:
    """Grid lines with their numbers, and the strips that stand for 0."""
    pieces, bottom, strip = [], top + DEEP, "fill:var(--soft);opacity:.13"
    if across.strip:
        pieces.append(svg.box(across.strip[0], top, across.strip[1] - across.strip[0], DEEP, strip))
    if up.strip:
        height = up.strip[0] - up.strip[1]
        pieces.append(svg.box(LEFT, up.strip[1], RIGHT - LEFT, height, strip))
    for mark in (*up.marks, *([0.0] if up.strip else [])):
        y, words = up.place(mark), svg.axis_number(mark)
        pieces.append(svg.line((LEFT, y), (RIGHT, y), "line"))
        pieces.append(svg.text(LEFT - 6, y + 4, words, anchor="end", kind="soft small"))
    for mark in (*across.marks, *([0.0] if across.strip else [])):
        x, words = across.place(mark), svg.axis_number(mark)
        pieces.append(svg.line((x, top), (x, bottom + 4), "line"))
        pieces.append(svg.text(x, bottom + 17, words, anchor="middle", kind="soft small"))
    return pieces


def _names(y: Row, x: Row, axes: tuple[Axis, Axis], head: float, top: float) -> list[str]:
    """What each axis is: the metric, its unit, and that it is logarithmic."""
    words = []
    for row, axis in zip((x, y), axes, strict=True):
        asides = [row["unit"]] if row["unit"] not in (None, "", "1") else []
        asides += ["log scale"] if axis.log else []
        words.append(f"{row['name']} ({', '.join(asides)})" if asides else row["name"])
    middle = (LEFT + RIGHT) / 2
    return [
        svg.text(8, head, words[1], kind="soft small"),
        svg.text(middle, top + DEEP + 35, words[0], anchor="middle", kind="soft small"),
    ]


def _draw_knee(
    knee: tuple[Point, Point], words: str, across: Axis, colour: str, span: tuple[float, float]
) -> list[str]:
    """The knee as a band from its words (at the first end of `span`) down to the axis."""
    left, right = sorted(across.place(point.at[0]) for point in knee)
    half = 3.4 * len(words)
    middle = min(max((left + right) / 2, LEFT + half), RIGHT - half)
    style = f"fill:var(--{colour});opacity:.13"
    return [
        svg.box(left, span[0] + 4, max(2.0, right - left), span[1] - span[0] - 4, style),
        svg.text(middle, span[0], words, anchor="middle", kind="small strong"),
    ]


def _say_knee(knee: tuple[Point, Point]) -> str:
    lo, hi = sorted(point.at[0] for point in knee)
    return f"knee: {short(str(lo), 2)} to {short(str(hi), 2)}"


def _draw_line(line: Line, axes: tuple[Axis, Axis], colour: str) -> tuple[list[str], list[Box]]:
    """Intervals, the line and its dots, and the room they take."""
    across, up = axes
    pieces: list[str] = []
    taken: list[Box] = []
    spots = [_spot(point, axes) for point in line.points]
    for point, (x, y) in zip(line.points, spots, strict=True):
        if ends := point.ends(0):
            bar = (across.place(ends[0]), y), (across.place(ends[1]), y)
            pieces.append(svg.line(*bar, colour, 2))
            taken += boxes_along(*bar)
        if ends := point.ends(1):
            bar = (x, up.place(ends[0])), (x, up.place(ends[1]))
            pieces.append(svg.line(*bar, colour, 2))
            taken += boxes_along(*bar)
    for one, two in pairwise(spots):
        pieces.append(svg.line(one, two, colour, 1.2))
        taken += boxes_along(one, two)
    for spot in spots:
        pieces.append(svg.dot(*spot, colour, radius=DOT))
    return pieces, taken


def _spot(point: Point, axes: tuple[Axis, Axis]) -> Pixel:
    return axes[0].place(point.at[0]), axes[1].place(point.at[1])


def _say(line: Line, along: str | None) -> str:
    parts = []
    for point in line.points:
        x, y = point.rows
        count = f" ({y['k']} of {y['n']})" if y["k"] is not None else ""
        place = f"{along} {point.label}: " if point.label != line.name else ""
        told = f"{y['name']} {short(y['value'])}{count} at {x['name']} {short(x['value'])}"
        parts.append(place + told)
    return f"{line.name}: {', '.join(parts)}" if line.name else ", ".join(parts)


def _caption(along: str | None, axes: tuple[Axis, Axis], *, knee: bool) -> str:
    words = ["Bars are the metrics' own intervals."]
    words += [f"Points are labelled with {along}."] if along else []
    words += ["Shaded is the step with the largest change."] if knee else []
    if any(axis.strip for axis in axes):
        words.append("The grey strip stands for 0, which a log scale does not have.")
    return " ".join(words)
