"""`python -m evidence recheck`: promoted records of the code commit, each verified again.

A job of its own (preset `evidence-check`): one row of samples for each record, so that the result
is gated like any other. It asks whether a record follows from its samples; whose signature counts
changes with the list of keys, and is asked where a record is added (`evidence check-records`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bridge import canonical
from bridge.errors import UsageError
from evidence.packed import SUFFIX
from evidence.promoted import ROOT, Checked, check_record
from evidence.verify import RECORD_NAME

UNSOUND = frozenset({"tampered", "malformed", "not recomputed"})
MAX_JOB_BYTES = 1024 * 1024


def recheck(job: Path, code: Path) -> tuple[Checked, ...]:
    """Verify every record below the job's path and write `samples.jsonl` and an artifact.

    Args:
        job: `job.json` (schema `kakeya.job/1`); its config holds `path`, below `ROOT`.
        code: the root that the path starts at.

    Raises:
        UsageError: the job file, or a path outside `ROOT` or that is not there.
    """
    document = canonical.decode(job.read_bytes(), where=str(job), max_bytes=MAX_JOB_BYTES)
    if not isinstance(document, dict) or not {"config", "out"} <= document.keys():
        raise UsageError("no job file", where=str(job))
    place = _below_root(code, str(document["config"].get("path", "")))
    found = tuple(check_record(name, files) for name, files in _records(place, code / ROOT))
    out = Path(document["out"])
    (out / "artifacts").mkdir(parents=True, exist_ok=True)
    rows = [row for one in found for row in _rows(one)]
    (out / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    told = [{"record": one.folder, "word": one.word, "problems": one.problems} for one in found]
    (out / "artifacts" / "checked.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return found


def _below_root(code: Path, path: str) -> Path:
    plain = PurePosixPath(path)
    if ".." in plain.parts or plain.parts[:2] != PurePosixPath(ROOT).parts:
        raise UsageError(f"{canonical.printable(path, 120)} does not lie below {ROOT}")
    if not (code / plain).is_dir():
        raise UsageError("the code commit has no such folder", where=path)
    return code / plain


def _records(place: Path, root: Path) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Each folder that holds a record, with its files."""
    names = (RECORD_NAME, RECORD_NAME + SUFFIX)
    folders = {path.parent for name in names for path in place.rglob(name) if path.is_file()}
    for folder in sorted(folders):
        files = {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.is_file() and not path.is_symlink()
        }
        yield folder.relative_to(root).as_posix(), files


def _rows(one: Checked) -> Iterator[dict[str, Any]]:
    scores = {
        "holds": one.word not in UNSOUND,
        "passes": one.word == "pass",
        "differences": len(one.problems),
    }
    for measure, score in scores.items():
        yield {
            "arm": "record",
            "seed": 0,
            "unit": one.folder[:200],
            "input": canonical.digest([one.folder, one.word, list(one.problems)]),
            "measure": measure,
            "score": score,
            "at": {},
            "error": None,
            "warmup": False,
            "t_ms": 0.0,
        }
