"""Small SVG pieces: escaped text, scales, a frame. Colours are CSS variables of the page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_LIGHT = (
    "#2563c9", "#c2570c", "#0f8a7e", "#8b44c4", "#a8326e", "#5f6b16",
    "#4b5563", "#9a6700", "#2b8a3e", "#0b98c7", "#d6336c", "#7c4a21",
)  # fmt: skip
_DARK = (
    "#79a8ff", "#ff9d5c", "#45cfc0", "#c99bff", "#ff8cc0", "#c3d15a",
    "#aab4c4", "#f0c04a", "#6fdc82", "#5cd0ff", "#ff6f91", "#d3a27a",
)  # fmt: skip


def _root(colours: Sequence[str]) -> str:
    """A CSS rule that gives each arm its colour."""
    return ":root{" + ";".join(f"--a{index}:{one}" for index, one in enumerate(colours)) + "}"


ARM_STYLE = f"{_root(_LIGHT)}\n@media (prefers-color-scheme:dark){{{_root(_DARK)}}}\n"
"""The colours of arms, for a page as for a picture that stands alone."""

_STYLE = """
:root{--ink:#1b1f24;--soft:#5a6270;--line:#d4d8de;--surface:#fff;--heat:#1f5fbf;--heat-ink:#fff;
--pass:#1a7f45;--fail:#c4302b;--inconclusive:#a35c00;--missing:#6b7280;--error:#c4302b}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a3abb8;--line:#3a414c;
--surface:#16191e;--heat:#7db0ff;--heat-ink:#0b1220;--pass:#4cc47f;--fail:#ff7b72;
--inconclusive:#e3a34a;--missing:#9aa3b2;--error:#ff7b72}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}
.soft{fill:var(--soft)}.small{font-size:11px}.tiny{font-size:10.5px}.strong{font-weight:600}
""".strip()


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawn figure.

    Attributes:
        name: file name without suffix.
        title: heading.
        caption: what a reader should know to read it.
        description: the same facts as text, for a screen reader.
        svg: the picture, self-contained.
    """

    name: str
    title: str
    caption: str
    description: str
    svg: str


def picture(
    name: str, title: str, description: str, size: tuple[float, float], body: Iterable[str]
) -> str:
    """A whole SVG document that also works alone."""
    width, height = size
    label = escape(name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-labelledby="{label}-t {label}-d">'
        f'<title id="{label}-t">{clean(title)}</title>'
        f'<desc id="{label}-d">{clean(description)}</desc>'
        f"<style>{ARM_STYLE}{_STYLE}</style>{''.join(body)}</svg>"
    )


def clean(words: str) -> str:
    """Text that may stand in XML: escaped, and without characters that XML does not have."""
    return escape("".join(char if char.isprintable() else "\ufffd" for char in words))


def text(x: float, y: float, words: object, *, anchor: str = "start", kind: str = "") -> str:
    """One line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">'
        f"{clean(str(words))}</text>"
    )


def line(a: tuple[float, float], b: tuple[float, float], colour: str, width: float = 1.0) -> str:
    """A straight line."""
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" '
        f'stroke="var(--{colour})" stroke-width="{width:g}"/>'
    )


def dot(x: float, y: float, colour: str, *, radius: float = 4.0, hollow: bool = False) -> str:
    """A filled or hollow dot with a ring of the surface round it."""
    fill = "var(--surface)" if hollow else f"var(--{colour})"
    ring = f"var(--{colour})" if hollow else "var(--surface)"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{ring}" '
        f'stroke-width="{2 if hollow else 1}"/>'
    )


def box(x: float, y: float, width: float, height: float, style: str) -> str:
    """A rectangle with a style of its own."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" style="{style}"/>'
    )


def scale(domain: tuple[float, float], room: tuple[float, float]) -> tuple[float, float]:
    """Slope and offset of the line that takes `domain` to `room`."""
    span = domain[1] - domain[0]
    slope = (room[1] - room[0]) / span if span else 0.0
    return slope, room[0] - slope * domain[0]


def ticks(lo: float, hi: float, count: int = 4) -> list[float]:
    """Round numbers that cover lo..hi."""
    if not math.isfinite(hi - lo) or hi <= lo:
        return [lo]
    raw = (hi - lo) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power >= raw)
    first = math.floor(lo / step + 1e-9)
    last = math.ceil(hi / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def axis_number(value: float) -> str:
    """A number short enough for an axis: 15000000 is `15M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def plot_name(*parts: str) -> str:
    """A name for a file and for an id, whatever a job called its arms."""
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", part).strip("-")[:60] or "x" for part in parts)


def arm_colour(index: int) -> str:
    """The colour variable of the n-th arm."""
    return f"a{index % len(_LIGHT)}"


def legend(arms: Sequence[str], y: float, width: float, x: float = 8.0) -> tuple[list[str], float]:
    """Arms with their colours, broken into lines; the pieces and the height used."""
    pieces, place, top = [], x, y
    for index, arm in enumerate(arms):
        size = 24 + 7.0 * len(arm)
        if place > x and place + size > width:
            place, top = x, top + 18
        pieces += [dot(place + 5, top - 4, arm_colour(index)), text(place + 14, top, arm)]
        place += size
    return pieces, top - y + 18
