"""Labels beside points, put where they cover neither one another nor what is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from evidence.report import svg

Pixel = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

LETTER, ABOVE, BELOW = 6.3, 8.5, 3.0  # of the class `small`
DOT = 4.5
_REACH = 7.0
_DISTANCES = (0.0, 10.0, 20.0, 32.0, 46.0, 62.0, 80.0)
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))
_ROUNDS = 3
_OUTSIDE, _WORDS, _DRAWN, _CROSSED, _DOUBT = 100.0, 20.0, 4.0, 60.0, 25.0


@dataclass(frozen=True, slots=True)
class Label:
    """The words of a point and its colour."""

    at: Pixel
    words: str
    colour: str


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a label may stand; `end` of the line that leads there, None right beside the point."""

    box: Box
    end: Pixel | None


def boxes_along(a: Pixel, b: Pixel) -> Iterator[Box]:
    """Small squares that cover a straight line."""
    count = max(1, round(math.dist(a, b) / 6))
    for index in range(count + 1):
        x, y = (one + index / count * (two - one) for one, two in zip(a, b, strict=True))
        yield x - 1.5, y - 1.5, x + 1.5, y + 1.5


def place_labels(labels: Sequence[Label], taken: Sequence[Box], frame: Box) -> list[str]:
    """The labels of points, each where it covers least; one further off gets a line to its point.

    Args:
        labels: what stands beside which point.
        taken: what the picture shows beside the points.
        frame: labels stay within.
    """
    chosen: dict[int, _Spot] = {}
    for _ in range(_ROUNDS):  # a later label may free the better place of an earlier one
        for index, label in enumerate(labels):
            others = {other: spot for other, spot in chosen.items() if other != index}
            near = [spot for spot in _spots(label) if _shared(spot.box, frame) > 0]
            costs = [_cost(labels, index, spot, others, taken, frame) for spot in near]
            chosen[index] = near[costs.index(min(costs))]
    pieces = []
    for index, spot in chosen.items():
        if spot.end is not None:
            pieces.append(svg.line(labels[index].at, spot.end, labels[index].colour, 0.8))
        words = labels[index].words
        pieces.append(svg.text(spot.box[0], spot.box[3] - BELOW, words, kind="small"))
    return pieces


def _spots(label: Label) -> Iterator[_Spot]:
    """Places round a point, near ones first."""
    (x, y), half, tall = label.at, LETTER * len(label.words) / 2, (ABOVE + BELOW) / 2
    for distance, (across, down) in product(_DISTANCES, _SIDES):
        reach = (_REACH if across == 0 or down == 0 else 0.7 * _REACH) + distance
        middle = x + across * (reach + half), y + down * (reach + tall)
        box = (middle[0] - half, middle[1] - tall, middle[0] + half, middle[1] + tall)
        edge = middle[0] - across * (half + 1), middle[1] - down * (tall + 1)
        yield _Spot(box, edge if distance else None)


def _cost(
    labels: Sequence[Label],
    index: int,
    spot: _Spot,
    others: dict[int, _Spot],
    taken: Sequence[Box],
    frame: Box,
) -> float:
    """How much a label at a spot covers, crosses, and leaves in doubt."""
    own, box = labels[index].at, spot.box
    size = (box[2] - box[0]) * (box[3] - box[1])
    found = _OUTSIDE * (size - _shared(box, frame))
    found += _DRAWN * sum(_shared(box, drawn) for drawn in taken)
    found += _WORDS * sum(_shared(box, other.box) for other in others.values())
    points = [label.at for label in labels if label.at != own]
    found += _CROSSED * sum(_gap(box, point) < DOT for point in (own, *points))
    for other, placed in others.items():
        if placed.end is not None:
            found += _DRAWN * _along(labels[other].at, placed.end, box)
    if spot.end is None:  # nothing but nearness tells whose it is
        limit = 1.5 * _gap(box, own)
        return found + _DOUBT * sum(_gap(box, point) <= limit for point in points)
    found += math.dist(own, spot.end)
    found += _CROSSED * sum(_is_on(point, own, spot.end) for point in points)
    for other, placed in others.items():
        found += _DRAWN * _along(own, spot.end, placed.box)
        if placed.end is not None:
            found += _CROSSED * _cross(own, spot.end, labels[other].at, placed.end)
    return found


def _shared(one: Box, two: Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return width * height if width > 0 and height > 0 else 0.0


def _gap(box: Box, point: Pixel) -> float:
    """How far a point lies from a box."""
    across = max(box[0] - point[0], 0.0, point[0] - box[2])
    return math.hypot(across, max(box[1] - point[1], 0.0, point[1] - box[3]))


def _along(a: Pixel, b: Pixel, box: Box) -> float:
    """How much of a line a box covers."""
    return sum(_shared(piece, box) for piece in boxes_along(a, b))


def _is_on(point: Pixel, a: Pixel, b: Pixel) -> bool:
    """Whether a line runs through the dot at a point."""
    length = math.dist(a, b)
    share = sum((p - u) * (v - u) for p, u, v in zip(point, a, b, strict=True)) / length**2
    foot = [u + min(1.0, max(0.0, share)) * (v - u) for u, v in zip(a, b, strict=True)]
    # Points that all but cover one another cannot be told apart by their lines.
    return math.dist(point, foot) < DOT and math.dist(point, a) > 2 * DOT


def _cross(a: Pixel, b: Pixel, c: Pixel, d: Pixel) -> bool:
    """Whether two lines cross."""

    def turn(p: Pixel, q: Pixel, r: Pixel) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
