"""`python -m tests.drills [NAME...]`: faults on real servers, each bounded, as a table.

A drill passes when every job ended exactly once in the state it should. `--brief` is the short
form that CI runs; `--page` writes the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bridge.git.settings import git_version
from tests import parts
from tests.drills import cancelling, cut, deaths, disks, lines, races, strangers
from tests.drills.field import open_field
from tests.drills.table import ALL, Drill, Row, SkipDrillError, draw, write_page
from tests.lab import REPO, make_checkout
from tests.servers.git_servers import PARTS, open_transport

DRILLS: tuple[Drill, ...] = (
    *deaths.DRILLS,
    *lines.DRILLS,
    *disks.DRILLS,
    *strangers.DRILLS,
    *races.DRILLS,
    *cancelling.DRILLS,
    *cut.DRILLS,
)
PAGE = REPO / "docs" / "reliability.md"


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run_cell(number: int, over: str, runs: int, checkout: Path) -> Row:
    """All runs of one drill over one transport."""
    drill = DRILLS[number]
    row = Row(drill.name, over)
    lacking = parts.missing(PARTS[over])
    if lacking:
        row.skipped = f"{', '.join(lacking)} is missing"
        return row
    with tempfile.TemporaryDirectory(prefix="drill-") as folder, open_transport(over) as transport:
        os.environ.update(transport.client_env)
        for turn in range(runs):
            try:
                with open_field(transport, checkout, Path(folder) / str(turn)) as field:
                    drill.run(field)
            except SkipDrillError as error:
                row.skipped = str(error)
                return row
            except Exception as error:
                lines = traceback.format_exception(error)
                row.faults.append("".join(lines))
                row.lost += len(field.refs) - sum(field.ends.values())
            else:
                row.recovery_s.append(field.recovery_s)
            row.runs += 1
            row.ends += field.ends
            row.doubled += field.doubled
    return row


def run_all(cells: Sequence[tuple[int, str]], runs: int, jobs: int) -> list[Row]:
    """Every cell, a few at a time; a line for each as it ends."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="trusted-") as folder:
        checkout = make_checkout(Path(folder))
        with ProcessPoolExecutor(jobs) as pool:
            waiting = [pool.submit(run_cell, *cell, runs, checkout) for cell in cells]
            for future in waiting:
                row = future.result()
                rows.append(row)
                say(" | ".join(row.cells()))
                for fault in row.faults:
                    say(fault)
    return rows


def choose(names: Sequence[str], over: Sequence[str], *, brief: bool) -> list[tuple[int, str]]:
    """Which drills over which transports; a name counts wherever it is part of a drill's."""
    cells = []
    for number, drill in enumerate(DRILLS):
        if names and not any(name in drill.name for name in names):
            continue
        chosen = drill.brief if brief else drill.over
        cells += [(number, name) for name in chosen if not over or name in over]
    return cells


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named; 1 if anything was lost, doubled or went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="drills whose name holds one of these")
    parser.add_argument("--over", nargs="+", choices=ALL, default=())
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="fields at a time")
    parser.add_argument("--brief", action="store_true", help="the short form, for CI")
    parser.add_argument("--page", action="store_true", help="write docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="name the drills and stop")
    given = parser.parse_args(arguments)
    cells = choose(given.names, given.over, brief=given.brief)
    if given.list:
        for number, over in cells:
            say(f"{DRILLS[number].name} (over {over})")
        return 0
    begun_s = time.monotonic()
    rows = run_all(cells, given.runs, given.jobs)
    bad = [row for row in rows if row.faults or row.lost or row.doubled]
    skipped = [row for row in rows if row.skipped]
    took_s = time.monotonic() - begun_s
    git = ".".join(map(str, git_version()))
    story = (
        f"{sum(row.runs for row in rows)} runs of {len(rows) - len(skipped)} rows in "
        f"{took_s:.0f} s, {given.jobs} at a time, on {os.cpu_count()} cores "
        f"({platform.machine()}), git {git}."
    )
    say(f"{story} {len(bad)} rows with a fault, {len(skipped)} skipped.")
    if given.page:
        write_page(PAGE, f"{story}\n\n{draw(rows)}")
    return int(bool(bad) or (bool(skipped) and parts.is_required()))


if __name__ == "__main__":
    sys.exit(main())
