"""`python -m benchmarks [--json] [--write] [NAME ...]`: every benchmark, or those named.

All of them together write `docs/benchmarks.md`; named ones are only printed, or with
`--write` put in the place of their sections.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from benchmarks import (
    bus,
    drain,
    growth,
    idle,
    jobs,
    page,
    peers,
    signing,
    site,
    startup,
    sweep,
)
from benchmarks.measure import Fact, Row, Table
from bridge.errors import KakeyaError

BENCHMARKS = {
    "startup": startup.measure,
    "jobs": jobs.measure,
    "drain": drain.measure,
    "idle": idle.measure,
    "peers": peers.measure,
    "growth": growth.measure,
    "bus": bus.measure,
    "signing": signing.measure,
    "site": site.measure,
    "sweep": sweep.measure,
    "reuse": sweep.measure_reuse,
}


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say 1 where a limit does not hold, 2 for a name that is not known."""
    as_json = "--json" in arguments
    writes = "--write" in arguments
    named = [name for name in arguments if not name.startswith("--")]
    unknown = [name for name in named if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    tables = []
    for name in named or BENCHMARKS:
        for table in _measure(name):
            tables.append(table)
            if not named or writes:  # what is measured is kept, whatever becomes of the rest
                before = page.PATH.read_text("utf-8") if page.PATH.is_file() else ""
                page.PATH.write_text(page.update(before, table), "utf-8")
            if not as_json:
                text = [f"{table.title}\n{table.note}\n", *page.draw(table.rows)]
                print(*text, sep="\n", flush=True)
                if table.after:
                    print(f"{table.after}\n")
    if as_json:
        print(json.dumps({"schema": "kakeya.benchmark/1", "tables": list(map(_as_json, tables))}))
    rows = [row for table in tables for row in table.rows if isinstance(row, Row)]
    return 0 if all(row.holds for row in rows) else 1


def _measure(name: str) -> Iterator[Table]:
    """The tables of one benchmark; a fault in it costs only what it would have measured."""
    try:
        yield from BENCHMARKS[name]()
    except (KakeyaError, AssertionError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else "it failed"
        yield Table(f"Benchmark {name}", f"Not measured to its end: {reason}", ())


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
