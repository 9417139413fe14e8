"""What `kakeya_remote --help` costs more than bare Python."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, time_ms
from bridge import proc

LIMIT_MS = 150.0
_REPETITIONS = 15
_HELP = "from bridge.cli.main import main; main(['--help'])"


def measure() -> Iterator[Row]:
    """Bare Python, the help page, and the difference of their medians."""
    bare = time_ms(lambda: _run("pass"), repetitions=_REPETITIONS)
    shown = time_ms(lambda: _run(_HELP), repetitions=_REPETITIONS)
    yield Row("start: bare Python", bare)
    yield Row("start: kakeya_remote --help", shown)
    bare_ms = statistics.median(bare)
    yield Row(
        "start: what the help page costs more", tuple(each - bare_ms for each in shown), LIMIT_MS
    )


def _run(code: str) -> None:
    done = proc.run(
        [sys.executable, "-c", code], cwd=Path.cwd(), env=proc.base_env(), timeout_s=60.0
    )
    assert done.code == 0, done.stderr.decode(errors="replace")
