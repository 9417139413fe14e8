"""What a drill is, and the rows that its runs become."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.drills.field import Field

ALL = ("file", "daemon", "http", "ssh")
BEGIN, END = "<!-- drills: begin -->", "<!-- drills: end -->"


class SkipDrillError(Exception):
    """This machine lacks what the drill needs."""


@dataclass(frozen=True)
class Drill:
    """One fault with its name.

    Attributes:
        name: what is done, at which moment; short, since it is typed and printed.
        run: does it once on a field, and settles the field.
        over: the transports where it makes a difference.
        brief: the transports of the short form that CI runs.
    """

    name: str
    run: Callable[[Field], None]
    over: tuple[str, ...] = ("file",)
    brief: tuple[str, ...] = ("file",)


@dataclass
class Row:
    """All runs of one drill over one transport."""

    name: str
    over: str
    runs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    recovery_s: list[float] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)
    skipped: str = ""

    def outcome(self) -> str:
        """How the jobs ended, in words."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.faults:
            return f"**{len(self.faults)} of {self.runs} runs failed**"
        return "; ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))

    def recovery(self) -> str:
        """Median of the seconds, and the longest."""
        if not self.recovery_s:
            return ""
        median = statistics.median(self.recovery_s)
        return f"{median:.1f} ({max(self.recovery_s):.1f})"

    def cells(self) -> tuple[str, ...]:
        """The row of the page."""
        counts = (str(self.lost), str(self.doubled)) if self.runs else ("", "")
        return (self.name, self.over, str(self.runs), self.outcome(), self.recovery(), *counts)


HEAD = ("drill", "over", "runs", "outcome", "recovery s, median (longest)", "lost", "doubled")


def draw(rows: Iterable[Row]) -> str:
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    return "\n".join(lines)


def write_page(page: Path, text: str) -> None:
    """Put the table between its two marks in a page."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest, f"{page} has no mark {BEGIN}"
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
