"""An axis whose numbers may span powers of ten, with a place for those that are exactly 0."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evidence.report import svg

LOG_FACTOR = 30.0
STRIP = 26.0
_MARGIN = 0.04
_MOST_MARKS = 7


@dataclass(frozen=True, slots=True)
class Axis:
    """Where numbers stand along one side of a picture.

    Attributes:
        log: whether equal steps are equal factors.
        marks: the numbers written beside it.
        strip: the pixels that stand for 0 on a logarithmic axis, None where it needs none.
    """

    log: bool
    marks: tuple[float, ...]
    strip: tuple[float, float] | None
    slope: float
    offset: float
    room: tuple[float, float]

    def place(self, value: float) -> float:
        """The pixel of a number, kept within the axis."""
        if self.log and value <= 0:
            return sum(self.strip) / 2 if self.strip else self.room[0]
        spot = (math.log10(value) if self.log else value) * self.slope + self.offset
        return min(max(spot, min(self.room)), max(self.room))


def make_axis(
    values: Sequence[float],
    bounds: Sequence[float],
    room: tuple[float, float],
    *,
    domain: tuple[float, float] | None = None,
) -> Axis:
    """An axis over what was measured; logarithmic beyond a factor of 30, if nothing is negative.

    Args:
        values: what was measured.
        bounds: ends of the intervals round it.
        room: pixels of the axis' low and its high end.
        domain: what a linear axis must show, instead of the numbers' own range.
    """
    positive = [value for value in values if value > 0]
    spread = max(positive) / min(positive) if positive else 1.0
    if domain is None and min(values) >= 0 and spread > LOG_FACTOR:
        return _log_axis(values, bounds, room)
    if domain is None:
        numbers = [*values, *bounds]
        domain = _widen((min(numbers), max(numbers)))
    marks = [mark for mark in svg.ticks(*domain) if domain[0] <= mark <= domain[1]]
    slope, offset = svg.scale(domain, room)
    return Axis(log=False, marks=tuple(marks), strip=None, slope=slope, offset=offset, room=room)


def _widen(domain: tuple[float, float]) -> tuple[float, float]:
    lo, hi = domain
    pad = (hi - lo) * _MARGIN or max(abs(lo) * 0.1, 0.1)
    return lo - pad, hi + pad


def _log_axis(values: Sequence[float], bounds: Sequence[float], room: tuple[float, float]) -> Axis:
    smallest = min(value for value in values if value > 0)
    # An interval may reach down to nearly nothing: a tenth of the smallest value is shown.
    shown = [number for number in (*values, *bounds) if number >= smallest / 10]
    domain = _widen((math.log10(min(shown)), math.log10(max(shown))))
    strip, start = None, room[0]
    if min([*values, *bounds]) <= 0:
        step = math.copysign(STRIP, room[1] - room[0])
        strip, start = (room[0], room[0] + step), room[0] + 1.25 * step
    slope, offset = svg.scale(domain, (start, room[1]))
    return Axis(True, tuple(_log_marks(domain)), strip, slope, offset, room)


def _log_marks(domain: tuple[float, float]) -> Iterator[float]:
    """Powers of ten within the domain (given as exponents), with 2 and 5 where they are few."""
    powers = range(math.floor(domain[0]), math.ceil(domain[1]) + 1)
    inside = [power for power in powers if domain[0] <= power <= domain[1]]
    units = (1, 2, 5) if len(inside) < 3 else (1,)
    every = -(-len(inside) // _MOST_MARKS) or 1
    for power in powers[:: every if units == (1,) else 1]:
        for unit in units:
            if domain[0] <= power + math.log10(unit) <= domain[1]:
                yield float(f"{unit}e{power}")
