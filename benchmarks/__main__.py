"""`python -m benchmarks [--json] [NAME ...]`: every benchmark, or those named."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from benchmarks import bus, startup
from benchmarks.measure import Row

BENCHMARKS = {"startup": startup.measure, "bus": bus.measure}


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say 1 where a limit does not hold, 2 for a name that is not known."""
    as_json = "--json" in arguments
    names = [name for name in arguments if name != "--json"] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    rows = [row for name in names for row in BENCHMARKS[name]()]
    if as_json:
        print(json.dumps({"schema": "kakeya.benchmark/1", "rows": [_as_json(row) for row in rows]}))
    else:
        _print_table(rows)
    return 0 if all(row.holds for row in rows) else 1


def _as_json(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "n": len(row.times_ms),
        "median_ms": round(row.median_ms, 3),
        "max_ms": round(max(row.times_ms), 3),
        "limit_ms": row.limit_ms,
        "holds": row.holds,
    }


def _print_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "n")
    for title in ("median, ms", "slowest, ms", "limit, ms"):
        table.add_column(title, justify="right")
    for row in rows:
        limit = "" if row.limit_ms is None else f"{row.limit_ms:.0f}"
        limit += "" if row.holds else " exceeded"
        values = (f"{row.median_ms:.1f}", f"{max(row.times_ms):.1f}", limit)
        table.add_row(row.name, str(len(row.times_ms)), *values)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
