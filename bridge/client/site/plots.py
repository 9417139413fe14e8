"""A metric's values over commits, one colour for each kind of hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from bridge.client.site.trends import Key, Point
from evidence.report import svg

WIDTH, HEIGHT = 460.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 440.0, 18.0, 182.0
MAX_COMMITS = 40
"""The newest commits that a figure shows."""
_MAX_PLACES = 6


def draw_trend(key: Key, series: Mapping[tuple[str, str], Point], name: str) -> svg.Plot:
    """The figure of one quantity; dots are means, bars reach from the lowest to the highest value.

    Args:
        key: the quantity.
        series: its points by commit and hardware.
        name: of the figure, unlike that of any other on its page.
    """
    commits = newest_commits(series)
    machines = sorted({hardware for _, hardware in series})
    shown = [point for (code, _), point in series.items() if code in commits]
    pieces, used = svg.legend([one or "unknown hardware" for one in machines], 16, WIDTH)
    low, high = min(one.low for one in shown), max(one.high for one in shown)
    if low == high:
        low, high = low - abs(low or 1.0) * 0.1, high + abs(high or 1.0) * 0.1
    frame, slope, offset = _frame(low, high, TOP + used)
    pieces += frame
    step = (RIGHT - LEFT) / len(commits)
    centres = {code: LEFT + step * (index + 0.5) for index, code in enumerate(commits)}
    pieces += _axis(commits, centres)
    for index, hardware in enumerate(machines):
        found = [(code, series[code, hardware]) for code in commits if (code, hardware) in series]
        shift = (index - (len(machines) - 1) / 2) * min(4.0, step / (len(machines) + 1))
        pieces += _line(found, centres, shift, index, (slope, offset))
    title = title_of(key)
    description = describe(key, series, commits)
    caption = f"{len(shown)} points; unit {key.unit or '1'}."
    drawn = svg.picture(name, title, description, (WIDTH, HEIGHT), pieces)
    return svg.Plot(name, title, caption, description, drawn)


def title_of(key: Key) -> str:
    """How a person reads a quantity: `recall[full, context 256]`."""
    inner = ", ".join(part for part in (key.arm, key.at) if part)
    return f"{key.metric}[{inner}]" if inner else key.metric


def newest_commits(series: Mapping[tuple[str, str], Point]) -> list[str]:
    """The newest commits of a quantity, in the order in which they were first asked for."""
    first: dict[str, int] = {}
    for (code, _), point in series.items():
        first[code] = min(point.first_ms, first.get(code, point.first_ms))
    return sorted(first, key=lambda code: (first[code], code))[-MAX_COMMITS:]


def describe(key: Key, series: Mapping[tuple[str, str], Point], commits: Sequence[str]) -> str:
    """The same facts as text, of the newest commit."""
    code = commits[-1]
    told = [
        f"{hardware or 'unknown hardware'} {point.mean:.4g} (n {point.count})"
        for (commit, hardware), point in sorted(series.items())
        if commit == code
    ]
    return f"{title_of(key)} over {len(commits)} commits; at {code[:8]}: {'; '.join(told)}"


def _frame(low: float, high: float, top: float) -> tuple[list[str], float, float]:
    marks = svg.ticks(low, high)
    ends = (marks[0], marks[-1] if len(marks) > 1 else marks[0] + 1)
    slope, offset = svg.scale(ends, (BOTTOM, top))
    pieces = []
    for mark in marks:
        y = mark * slope + offset
        pieces.append(svg.line((LEFT, y), (RIGHT, y), "line"))
        number = svg.text(LEFT - 6, y + 4, svg.axis_number(mark), anchor="end", kind="soft small")
        pieces.append(number)
    return pieces, slope, offset


def _axis(commits: Sequence[str], centres: Mapping[str, float]) -> list[str]:
    every = -(-len(commits) // _MAX_PLACES)
    return [
        svg.text(centres[code], BOTTOM + 17, code[:7], anchor="middle", kind="soft tiny")
        for code in commits[::-1][::every]
    ]


def _line(
    found: Sequence[tuple[str, Point]],
    centres: Mapping[str, float],
    shift: float,
    index: int,
    scale: tuple[float, float],
) -> list[str]:
    slope, offset = scale
    colour = svg.arm_colour(index)
    spots = [(centres[code] + shift, point.mean * slope + offset) for code, point in found]
    pieces = [svg.line(one, two, colour, 1.2) for one, two in pairwise(spots)]
    for (x, y), (_, point) in zip(spots, found, strict=True):
        if point.low != point.high:
            ends = ((x, point.low * slope + offset), (x, point.high * slope + offset))
            pieces.append(svg.line(*ends, colour, 1))
        pieces.append(svg.dot(x, y, colour, radius=3))
    return pieces
