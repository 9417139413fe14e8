"""Promoted records: the small files that stay in the repository, laid out, read and judged again.

`evidence/records/YYYY/<id>/` holds `evidence.json` (compressed where it is large), the samples
compressed, and the bundle of signatures where there is one. Reports are not kept: they are a pure
function of these.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge import canonical
from bridge.errors import ExitCode, IntegrityError, KakeyaError, UsageError
from evidence.assurance import derive_assurance
from evidence.packed import SUFFIX, pack
from evidence.record import SAMPLES_PATH
from evidence.sign import BUNDLE_NAME
from evidence.verify import RECORD_NAME, Verification, verify

ROOT = "evidence/records"
MAX_RECORD_BYTES = 32 * 1024
MAX_SAMPLES_BYTES = 1024 * 1024
MAX_BUNDLE_BYTES = 256 * 1024
_FOLDER = re.compile(r"[0-9]{4}/[0-9A-Z]{26}\Z")
_LIMITS = {
    RECORD_NAME: MAX_RECORD_BYTES,
    RECORD_NAME + SUFFIX: MAX_RECORD_BYTES,
    SAMPLES_PATH + SUFFIX: MAX_SAMPLES_BYTES,
    BUNDLE_NAME: MAX_BUNDLE_BYTES,
}
_VERDICT_CODES = {
    "pass": ExitCode.DONE,
    "fail": ExitCode.GATE_FAILED,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "missing": ExitCode.INCONCLUSIVE,
    "error": ExitCode.INTERNAL,
}
_WORST_FIRST = (
    ExitCode.REFUSED,
    ExitCode.USAGE,
    ExitCode.INTERNAL,
    ExitCode.GATE_FAILED,
    ExitCode.JOB_FAILED,
    ExitCode.INCONCLUSIVE,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one record of a proposal.

    Attributes:
        folder: where it lies, below `ROOT`.
        word: its verdict, or `tampered`, `malformed`, `not recomputed`, `job failed`.
        code: the exit code that says it.
        problems: what is wrong, line by line.
        notes: what a reader should know though nothing is wrong.
        record: the record where it holds, to draw its report from; else None.
    """

    folder: str
    word: str
    code: ExitCode
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = field(default=None, repr=False)


def folder_of(job_id: str) -> str:
    """`YYYY/<id>`, the year as the id tells it.

    Raises:
        UsageError: not the id of a job.
    """
    if not canonical.is_ulid(job_id):
        raise UsageError(f"{canonical.printable(repr(job_id), 60)} is not the id of a job")
    year = datetime.fromtimestamp(canonical.ulid_time_ms(job_id) / 1000, UTC).year
    return f"{year:04}/{job_id}"


def lay_out(record: bytes, samples: bytes | None, bundle: bytes | None) -> dict[str, bytes]:
    """The files of a promoted record, by name.

    Samples that are too large compressed are left out: they stay on the bus by their digest.

    Raises:
        UsageError: the record is too large even compressed.
    """
    files: dict[str, bytes] = {}
    if len(record) <= MAX_RECORD_BYTES:
        files[RECORD_NAME] = record
    else:
        files[RECORD_NAME + SUFFIX] = pack(record)
        size = len(files[RECORD_NAME + SUFFIX])
        if size > MAX_RECORD_BYTES:
            raise UsageError(
                f"the record takes {size} bytes compressed, at most {MAX_RECORD_BYTES} are kept",
                where=RECORD_NAME,
                remedy="reduce the metrics and gates of the preset: samples hold the detail",
            )
    if samples is not None:
        packed = pack(samples)
        if len(packed) <= MAX_SAMPLES_BYTES:
            files[SAMPLES_PATH + SUFFIX] = packed
    if bundle is not None:
        files[BUNDLE_NAME] = bundle
    return files


def split_path(path: str) -> tuple[str, str] | None:
    """(`YYYY/<id>`, name) of a path below `ROOT`; None where no record has such a file."""
    folder, _, name = path.rpartition("/")
    return (folder, name) if _FOLDER.match(folder) and name in _LIMITS else None


def check_record(folder: str, files: Mapping[str, bytes], signers: Path | None = None) -> Checked:
    """Verify a promoted record from its files alone, whoever wrote them.

    Args:
        folder: `YYYY/<id>`.
        files: its files by name.
        signers: the keys that are trusted (`evidence.sign.read_signers`).
    """
    large = [
        f"{name}: {len(data)} bytes, at most {_LIMITS[name]} are kept"
        for name, data in files.items()
        if len(data) > _LIMITS[name]
    ]
    if large:
        return Checked(folder, "malformed", ExitCode.USAGE, tuple(large))
    if not files.keys() & {RECORD_NAME, RECORD_NAME + SUFFIX}:
        return Checked(folder, "malformed", ExitCode.USAGE, (f"{RECORD_NAME} is missing",))
    if {RECORD_NAME, RECORD_NAME + SUFFIX} <= files.keys():
        return Checked(folder, "malformed", ExitCode.USAGE, (f"{RECORD_NAME} is there twice",))
    with tempfile.TemporaryDirectory(prefix="kakeya-record-") as scratch:
        for name, data in files.items():
            (Path(scratch) / name).write_bytes(data)
        try:
            return _judge(folder, verify(Path(scratch), signers=signers))
        except KakeyaError as error:
            tampered = isinstance(error, IntegrityError)
            word = "tampered" if tampered else "malformed"
            code = ExitCode.REFUSED if tampered else error.exit_code
            told = str(error).replace(f"{scratch}/", "")
            return Checked(folder, word, code, tuple(told.splitlines()))
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            # a stranger's record must end as a verdict, whatever it finds in our code
            problem = f"cannot be judged: {type(error).__name__}: {error}"
            return Checked(folder, "malformed", ExitCode.USAGE, (problem,))


def _judge(folder: str, found: Verification) -> Checked:
    problems = tuple(map(str, found.differences))
    if problems:
        return Checked(folder, "tampered", ExitCode.REFUSED, problems, found.notes)
    record = found.record
    if record["id"] != folder.rpartition("/")[2] or folder_of(str(record["id"])) != folder:
        problem = f"the record is of job {record['id']}: it belongs in another folder"
        return Checked(folder, "tampered", ExitCode.REFUSED, (problem,), found.notes)
    standing = derive_assurance(record, found.signers)
    notes = (*found.notes, f"assurance: {standing.assurance} ({standing.why})")
    if not found.recomputed:
        problem = "its samples are not here, so that nothing was recomputed"
        return Checked(folder, "not recomputed", ExitCode.INCONCLUSIVE, (problem,), notes, record)
    verdict = record["result"]["gates"]
    code = _VERDICT_CODES[verdict]
    if code is ExitCode.DONE and not _ended_well(record):
        ended = record["result"]["execution"]
        problem = f"every gate passes, but the job itself ended by {ended}"
        return Checked(folder, "job failed", ExitCode.JOB_FAILED, (problem,), notes, record)
    return Checked(folder, verdict, code, (), notes, record)


def _ended_well(record: Mapping[str, Any]) -> bool:
    execution = record["execution"]
    return not execution.get("code") and execution.get("reason", "exit") in ("exit", "done")


def worst(codes: list[ExitCode]) -> ExitCode:
    """The code of a whole proposal: broken integrity, what cannot be read, then the verdicts."""
    return next((code for code in _WORST_FIRST if code in codes), ExitCode.DONE)
