"""The page `docs/benchmarks.md`: what was measured, by which command, on which machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Row, Table
from bridge.git import git_version

PATH = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write(tables: Sequence[Table], command: str) -> str:
    """The whole page as Markdown."""
    parts = [
        "# Benchmarks",
        "",
        f"Written by `{command}`; do not edit. Every row of a table comes from one run, its cases "
        "taken in turn, so trust the ratios before the milliseconds.",
        "",
        f"- machine: {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB; "
        f"{platform.system()} {platform.release().split('-')[0]}; "
        f"load average {os.getloadavg()[0]:.1f} at the end",
        f"- git {'.'.join(map(str, git_version()))}, Python {platform.python_version()}",
        "",
    ]
    for table in tables:
        parts += [f"## {table.title}", "", table.note, "", *draw(table.rows)]
    return "\n".join(parts).rstrip() + "\n"


def draw(rows: Sequence[Row]) -> list[str]:
    """The rows of one table as Markdown."""
    if not rows:
        return []
    lines = [
        "| what | n | median ms | slowest ms | more than the first, ms | ratio | limit |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        above = ratio = ""
        if row.base_ms is not None:
            above, ratio = f"{row.above_ms:+.1f}", f"{row.median_ms / row.base_ms:.2f}"
        limit = "" if row.limit_ms is None else f"+{row.limit_ms:g} ms: "
        limit += "" if row.limit_ms is None else ("kept" if row.holds else "**exceeded**")
        lines.append(
            f"| {row.name} | {len(row.times_ms)} | {row.median_ms:.1f} | {max(row.times_ms):.1f} "
            f"| {above} | {ratio} | {limit} |"
        )
    return [*lines, ""]


def _processor() -> str:
    try:
        rows = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
