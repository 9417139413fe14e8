"""Verify a record: derive it again from its samples and name every difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import canonical, schema
from bridge.errors import IntegrityError, KakeyaError, ManifestError
from bridge.signers import REVOKED_PATH
from evidence.evaluator import evaluator
from evidence.gaps import NO_SAMPLE
from evidence.judge import artifact_problem, load_json
from evidence.packed import read_packed
from evidence.record import (
    FACT_KEYS,
    SAMPLES_PATH,
    Material,
    assemble,
    is_own_digest,
)
from evidence.sign import BUNDLE_NAME, read_signers, verify_bundle

MAX_DIFFERENCES = 100
RECORD_NAME = "evidence.json"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the record is not what its samples give."""

    path: str
    recorded: str
    recomputed: str

    def __str__(self) -> str:
        return f"{self.path}: recorded {self.recorded}, recomputed {self.recomputed}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of verifying a record.

    Attributes:
        record: the record as it was read.
        differences: every difference found; none means that it holds.
        recomputed: False where the samples were not at hand, so that nothing was derived again.
        notes: what could not be checked, and whether another evaluator judged.
        signers: names of the trusted keys that signed it.
    """

    record: Mapping[str, Any]
    differences: tuple[Difference, ...]
    recomputed: bool
    notes: tuple[str, ...]
    signers: tuple[str, ...] = ()


def find_record(path: Path) -> Path:
    """The record itself, from a folder or a file."""
    return path / RECORD_NAME if path.is_dir() else path


def verify(
    path: Path, *, artifacts: Path | None = None, signers: Path | None = None
) -> Verification:
    """Check a record's schema, its files' digests, and all that was derived from its samples.

    Args:
        path: evidence.json, or the folder that holds it.
        artifacts: the folder of the artifacts; by default `artifacts` beside the record, if there.
        signers: a list of trusted keys (`bridge.signers`) that the bundle beside the record is
            checked against; a file `revoked` beside it lists those that count no more.

    Raises:
        UsageError: there is no record, or it is not JSON.
    """
    file = find_record(path)
    record = load_json(file)
    try:
        schema.check(record, schema.load("evidence", "evidence"), where=str(file))
    except ManifestError as error:
        found = tuple(_schema_difference(problem) for problem in error.problems)
        return Verification(record, found, False, ("the record does not fit its schema",))
    differences = [*_check_files(record, file.parent, artifacts)]
    names, faults, notes = _check_signatures(file, signers)
    differences += faults
    samples = _read_samples(record, file.parent)
    if record["evaluator"] != evaluator():
        notes.append("another evaluator judged this record")
    if samples is None and record["samples"] is not None:
        notes.append(f"{record['samples']['path']} is not here: nothing was recomputed")
        return Verification(record, tuple(differences), False, tuple(notes), names)
    differences += _recompute(record, samples)
    return Verification(record, tuple(differences[:MAX_DIFFERENCES]), True, tuple(notes), names)


def _check_signatures(
    file: Path, signers: Path | None
) -> tuple[tuple[str, ...], list[Difference], list[str]]:
    """Names of the trusted signers, differences, notes."""
    bundle = file.parent / BUNDLE_NAME
    if not bundle.is_file():
        return (), [], ["unsigned"] if signers else []
    if signers is None:
        return (), [], ["signed, but no list of trusted signers was given (--signers)"]
    beside = signers.parent / Path(REVOKED_PATH).name
    revoked = beside.read_text("utf-8") if beside.is_file() else ""
    trusted = read_signers(signers.read_text("utf-8"), revoked=revoked, where=str(signers))
    try:
        return verify_bundle(bundle.read_bytes(), read_packed(file) or b"", trusted), [], []
    except IntegrityError as error:
        told = "; ".join([error.message, *error.problems])
        return (), [Difference(BUNDLE_NAME, "a signature of this record", told)], []


def require_sound(found: Verification, where: str) -> None:
    """Raise what a verification found.

    Raises:
        IntegrityError: naming every difference.
    """
    if found.differences:
        raise IntegrityError(
            "the record is not what its samples give",
            where=where,
            problems=tuple(map(str, found.differences)),
            remedy="trust neither the record nor its verdicts; fetch the result again",
        )


def _schema_difference(problem: str) -> Difference:
    place, _, message = problem.partition(": ")
    return Difference(place, message, "a record of kakeya.evidence/1")


def _read_samples(record: Mapping[str, Any], folder: Path) -> bytes | None:
    if record["samples"] is None:
        return None
    path = _inside(folder, record["samples"]["path"])
    return read_packed(path) if path is not None else None


def _inside(folder: Path, name: str) -> Path | None:
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _check_files(
    record: Mapping[str, Any], folder: Path, artifacts: Path | None
) -> Iterator[Difference]:
    samples = _read_samples(record, folder)
    if samples is not None:
        found = canonical.digest_bytes(samples)
        if found != record["samples"]["sha256"]:
            yield Difference("$.samples.sha256", record["samples"]["sha256"], found)
    place = artifacts or folder / "artifacts"
    if not place.is_dir():
        return
    for index, item in enumerate(record["artifacts"]):
        problem = artifact_problem(item, place)
        if problem:
            yield Difference(f"$.artifacts[{index}]", item["sha256"], problem)


def material_of(record: Mapping[str, Any], samples: bytes | None) -> Material:
    """What a record was made of, so that it can be made again."""
    facts = {key: record[key] for key in FACT_KEYS if key in record and key != "digests"}
    facts["seeds_excluded"] = [
        item for item in record["seeds"]["excluded"] if item["reason"] != NO_SAMPLE
    ]
    facts["digests"] = {
        key: value for key, value in record["digests"].items() if not is_own_digest(key)
    }
    return Material(
        facts=facts,
        spec=record["spec"]["document"],
        samples=samples,
        bases={name: base["record"] for name, base in record["baselines"].items()},
        base_digests={name: base["digest"] for name, base in record["baselines"].items()},
        samples_path=record["samples"]["path"] if record["samples"] else SAMPLES_PATH,
    )


def _recompute(record: Mapping[str, Any], samples: bytes | None) -> Iterator[Difference]:
    try:
        fresh = assemble(material_of(record, samples)).record
    except KakeyaError as error:
        yield Difference("$", "a record", str(error).replace("\n", "; "))
        return
    # Which evaluator judged is a fact of the record; that its results are ours is what is checked.
    fresh["evaluator"] = record["evaluator"]
    if "evaluator" in record["digests"]:
        fresh["digests"]["evaluator"] = record["digests"]["evaluator"]
    yield from compare_data(record, fresh, "$")


def compare_data(recorded: Any, fresh: Any, path: str) -> Iterator[Difference]:
    """Every leaf at which two JSON documents differ."""
    if isinstance(recorded, Mapping) and isinstance(fresh, Mapping):
        for key in sorted({*recorded, *fresh}):
            yield from compare_data(
                recorded.get(key, _ABSENT), fresh.get(key, _ABSENT), f"{path}.{key}"
            )
    elif isinstance(recorded, list) and isinstance(fresh, list):
        for index in range(max(len(recorded), len(fresh))):
            yield from compare_data(
                recorded[index] if index < len(recorded) else _ABSENT,
                fresh[index] if index < len(fresh) else _ABSENT,
                f"{path}[{index}]",
            )
    elif type(recorded) is not type(fresh) or recorded != fresh:
        yield Difference(path, _show(recorded), _show(fresh))


_ABSENT = object()


def _show(value: Any) -> str:
    if value is _ABSENT:
        return "(absent)"
    text = canonical.encode(value).decode() if not isinstance(value, str) else value
    return text if len(text) <= 120 else f"{text[:100]} ... ({len(text)} characters)"
