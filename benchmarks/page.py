"""The page `docs/benchmarks.md`: what was measured, by which command, on which machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Fact, Row, Table
from bridge.git import git_version

PATH = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def update(page: str, table: Table) -> str:
    """The page with the section of one table made anew, or added; the other sections stay."""
    sections = dict(_split(page))
    load = os.getloadavg()[0]
    cores = os.cpu_count() or 1
    shared = ", so other programs kept the cores busy too" if load > 3 * cores else ""
    parts = [f"## {table.title}", "", table.note, "", *draw(table.rows)]
    parts += [table.after, ""] if table.after else []
    parts.append(f"Load average at its end: {load:.1f} on {cores} cores{shared}.")
    sections[table.title] = "\n".join(parts)
    return "\n\n".join([_head(), *sections.values()]) + "\n"


def _split(page: str) -> Iterator[tuple[str, str]]:
    for section in page.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        yield title, f"## {section.strip()}"


def _head() -> str:
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`; do not edit. `python -m benchmarks --write NAME` measures "
            "some sections again. Every row of a table comes from one run, its cases taken in "
            "turn, so trust the ratios before the milliseconds.",
            "",
            f"- machine: {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB; "
            f"{platform.system()} {platform.release().split('-')[0]}",
            f"- git {'.'.join(map(str, git_version()))}, Python {platform.python_version()}",
        ]
    )


def draw(rows: Sequence[Row | Fact]) -> list[str]:
    """The rows of one table as Markdown."""
    if not rows:
        return []
    times = [row for row in rows if isinstance(row, Row)]
    facts = [row for row in rows if isinstance(row, Fact)]
    return [*(_draw_times(times) if times else []), *(_draw_facts(facts) if facts else [])]


def _draw_times(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| what | n | median ms | slowest ms | more than the first, ms | ratio | limit |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        above = ratio = ""
        if row.base_ms is not None:
            above, ratio = f"{row.above_ms:+.1f}", f"{row.ratio:.2f}"
        lines.append(
            f"| {row.name} | {len(row.times_ms)} | {row.median_ms:.1f} | {max(row.times_ms):.1f} "
            f"| {above} | {ratio} | {_judge(row)} |"
        )
    return [*lines, ""]


def _judge(row: Row) -> str:
    if row.limit_ms is not None:
        return f"+{row.limit_ms:g} ms: {'kept' if row.holds else '**exceeded**'}"
    if row.goal_ratio is not None:
        return f"{row.goal_ratio:g}x: {'met' if row.ratio <= row.goal_ratio else '**missed**'}"
    return ""


def _draw_facts(rows: Sequence[Fact]) -> list[str]:
    lines = ["| what | n | measured | goal | |", "|---|--:|--:|---|---|"]
    for row in rows:
        goal = ""
        if row.goal is not None:
            bound = "at least" if row.more_is_better else "at most"
            goal = f"{bound} {row.goal:g}: {'met' if row.is_met else '**missed**'}"
        lines.append(
            f"| {row.name} | {row.n} | {row.value:.{_digits(row.value)}f} {row.unit} "
            f"| {goal} | {row.remark} |"
        )
    return [*lines, ""]


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 2


def _processor() -> str:
    try:
        rows = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
