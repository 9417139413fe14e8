"""What the pages of a bus with 10,000 finished jobs cost: time to build, bytes to load.

`python -m benchmarks.site SITE` leaves such a site in the folder SITE, to be looked at.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Fact, Table
from bridge.bus.profile import PROFILES
from bridge.bus.refs import Refs
from bridge.client.api import Client
from bridge.client.settings import Settings
from bridge.client.site.build import Built, build_site
from tests.actors import open_bus
from tests.crowd import fill_ledger
from tests.lab import make_bare

JOBS = 10_000
FIRST_VIEW_KB = 300.0
_NOTE = (
    f"A bus in a folder whose ledger holds {JOBS} ended jobs, composed and not run "
    "(tests/crowd.py): each with the record of a judged job, 12 KB with 18 metrics and 3 gates. "
    "`first view` is every file that a browser loads to show the first page, uncompressed."
)


def measure() -> Iterator[Table]:
    """One table."""
    with tempfile.TemporaryDirectory(prefix="kakeya-site-") as scratch:
        folder = Path(scratch)
        _fill(folder)
        first, first_s = _build(folder, folder / "site")
        _, again_s = _build(folder, folder / "site")
        yield Table("The pages of 10,000 jobs", _NOTE, tuple(_facts(first, first_s, again_s)))


def _fill(folder: Path) -> None:
    make_bare(folder / "bus.git")
    bus = open_bus(str(folder / "bus.git"), folder / "maker")
    fill_ledger(bus, folder / "bus.git", JOBS)
    bus.close()


def _build(folder: Path, out: Path) -> tuple[Built, float]:
    profile = replace(PROFILES["local"], network_timeout_s=120.0)
    settings = Settings(str(folder / "bus.git"), Refs(), profile, (), folder / "client", {})
    with Client(settings, checkout=None) as client:
        begun_s = time.perf_counter()
        built = build_site(client, out)
        return built, time.perf_counter() - begun_s


def _facts(built: Built, first_s: float, again_s: float) -> Iterator[Fact]:
    assert built.jobs == JOBS
    pages = [path for path in built.folder.rglob("*") if path.is_file()]
    jobs = [path.stat().st_size for path in pages if path.parts[-3] == "jobs"]
    trends = [path.stat().st_size for path in pages if path.parts[-3] == "trends"]
    rows = sum(path.stat().st_size for path in pages if path.parent.name == "data")
    yield Fact("build, everything new", 1, first_s, "s", remark="one process")
    yield Fact("build, nothing new", 1, again_s, "s", remark="ended jobs are not read again")
    size_kb = built.first_view_bytes / 1e3
    yield Fact("first view", 1, size_kb, "KB", goal=FIRST_VIEW_KB)
    yield Fact("all rows, loaded when somebody searches", 1, rows / 1e3, "KB")
    yield Fact("page of a job, largest", len(jobs), max(jobs) / 1e3, "KB")
    yield Fact("page of a trend, largest", len(trends), max(trends) / 1e3, "KB")
    whole = sum(path.stat().st_size for path in pages)
    yield Fact("the whole site", len(pages), whole / 1e6, "MB", remark="n: files")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="kakeya-site-") as where:
        _fill(Path(where))
        _build(Path(where), Path(sys.argv[1]))
