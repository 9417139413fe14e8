"""`python -m benchmarks [--json] [NAME ...]`: every benchmark, or those named.

All of them together write `docs/benchmarks.md`; named ones are only printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks import bus, page, signing, site, startup, sweep
from benchmarks.measure import Fact, Row, Table

BENCHMARKS = {
    "startup": startup.measure,
    "signing": signing.measure,
    "bus": bus.measure,
    "site": site.measure,
    "sweep": sweep.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say 1 where a limit does not hold, 2 for a name that is not known."""
    as_json = "--json" in arguments
    named = [name for name in arguments if name != "--json"]
    unknown = [name for name in named if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    tables = []
    for name in named or BENCHMARKS:
        for table in BENCHMARKS[name]():
            tables.append(table)
            if not as_json:
                print(f"{table.title}\n{table.note}\n", *page.draw(table.rows), sep="\n")
                if table.after:
                    print(f"{table.after}\n")
    if as_json:
        print(json.dumps({"schema": "kakeya.benchmark/1", "tables": list(map(_as_json, tables))}))
    if not named:
        page.PATH.write_text(page.write(tables, "python -m benchmarks"), "utf-8")
    rows = [row for table in tables for row in table.rows if isinstance(row, Row)]
    return 0 if all(row.holds for row in rows) else 1


def _as_json(table: Table) -> dict[str, object]:
    return {"title": table.title, "rows": [_row_as_json(row) for row in table.rows]}


def _row_as_json(row: Row | Fact) -> dict[str, object]:
    if isinstance(row, Fact):
        return {**asdict(row), "met": row.is_met}
    return {
        "name": row.name,
        "n": len(row.times_ms),
        "median_ms": round(row.median_ms, 3),
        "slowest_ms": round(max(row.times_ms), 3),
        "base_ms": None if row.base_ms is None else round(row.base_ms, 3),
        "limit_ms": row.limit_ms,
        "goal_ratio": row.goal_ratio,
        "holds": row.holds,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
