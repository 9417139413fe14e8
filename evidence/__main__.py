"""`python -m evidence`: `judge` is what a runner starts, from its trusted commit, to judge a job.

`recheck` is the job of the preset `evidence-check`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bridge.errors import KakeyaError, UsageError
from evidence.judge import JudgeInput, judge
from evidence.recheck import recheck


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 once everything is written, whatever the verdict; else the error's exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("judge", help="reduce, judge and report one finished job")
    for name in ("facts", "samples", "spec", "out"):
        command.add_argument(f"--{name}", type=Path, required=True)
    command.add_argument("--artifacts", type=Path)
    command.add_argument("--base", action="append", default=[], metavar="NAME=FILE")
    again = commands.add_parser("recheck", help="verify promoted records again, as a job")
    again.add_argument("--job", type=Path, required=True)
    given = parser.parse_args(argv)
    try:
        if given.command == "recheck":
            return _recheck(given.job)
        bases = dict(_split(item) for item in given.base)
        written = judge(
            JudgeInput(given.facts, given.samples, given.spec, given.out, given.artifacts, bases)
        )
    except KakeyaError as error:
        sys.stderr.write(json.dumps(error.as_json()) + "\n")
        return int(error.exit_code)
    result = written.assembled.record["result"]
    answer = {
        "schema": "kakeya.judged/1",
        "verdict": result["gates"],
        "counts": result["counts"],
        "files": [path.name for path in written.files],
        "notes": list(written.notes),
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _recheck(job: Path) -> int:
    for one in recheck(job, Path(__file__).resolve().parents[1]):
        sys.stdout.write(f"{one.folder}: {one.word}\n")
        sys.stdout.writelines(f"  {problem}\n" for problem in one.problems)
    return 0


def _split(item: str) -> tuple[str, Path]:
    name, found, path = item.partition("=")
    if not found or not name:
        raise UsageError(f"{item!r} is not NAME=FILE", where="--base")
    return name, Path(path)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
