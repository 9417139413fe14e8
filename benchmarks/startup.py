"""What `kakeya_remote --help` costs more than bare Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Action, Table, compare
from bridge import proc

LIMIT_MS = 150.0
_ROUNDS = 20
_HELP = "from bridge.cli.main import main; main(['--help'])"
_NAME = "kakeya_remote --help"


def measure() -> Iterator[Table]:
    """Bare Python and the help page in turn."""
    cases = {"bare Python": lambda: _runs("pass"), _NAME: lambda: _runs(_HELP)}
    rows = compare(cases, rounds=_ROUNDS, limits={_NAME: LIMIT_MS})
    note = f"The help page may take {LIMIT_MS:g} ms more than an interpreter that does nothing."
    yield Table("Start-up", note, rows)


def _runs(code: str) -> Action:
    def run() -> None:
        argv = [sys.executable, "-c", code]
        done = proc.run(argv, cwd=Path.cwd(), env=proc.base_env(), timeout_s=60.0)
        assert done.code == 0, done.stderr.decode(errors="replace")

    return run
