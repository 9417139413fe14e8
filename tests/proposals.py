"""A repository whose trusted branch has an evidence record, and proposals that add others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge import canonical
from evidence.judge import JudgeInput, judge
from evidence.packed import SUFFIX, pack, unpack
from evidence.promoted import ROOT, folder_of, lay_out
from evidence.record import SAMPLES_PATH
from evidence.verify import RECORD_NAME
from tests import evidence_world
from tests.lab import commit_all, git_in

SAMPLES_NAME = SAMPLES_PATH + SUFFIX


def make_id(number: int) -> str:
    """The id of a job of the year 2026, the same for the same number."""
    return canonical.make_ulid(1_780_000_000_000 + number, bytes([number] * 10))


def make_record(
    scratch: Path,
    job_id: str,
    *,
    good: bool = True,
    preset: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The files of a promoted record, judged as a runner judges it; a bad one fails a gate."""
    rows = [dict(row) for row in evidence_world.sample_rows()]
    for row in rows:
        if not good and row["measure"] == "recall" and row["arm"] == "full":
            row["score"] = False
    facts = {**evidence_world.facts(), "id": job_id}
    facts["preset"] = {**facts["preset"], **(preset or {})}
    paths = evidence_world.write_job(scratch / job_id, rows=rows, facts_data=facts, spec_data=spec)
    out = scratch / job_id / "out"
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], out))
    record, samples = (out / name for name in (RECORD_NAME, SAMPLES_PATH))
    return lay_out(record.read_bytes(), samples.read_bytes(), None)


def flip_a_verdict(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The record with every failed gate called passed."""
    name = RECORD_NAME if RECORD_NAME in files else RECORD_NAME + SUFFIX
    data = files[name] if name == RECORD_NAME else unpack(files[name], where=name)
    record = json.loads(data)
    for gate in record["gates"]:
        gate["verdict"] = "pass"
    record["result"]["gates"] = "pass"
    changed = canonical.encode(record) + b"\n"
    return {**files, name: changed if name == RECORD_NAME else pack(changed)}


class Proposals:
    """The repository; each proposal is a branch beside `main`.

    Attributes:
        folder: its checkout.
        base: the commit of `main`.
        kept: `YYYY/<id>` of the record that `main` has.
    """

    def __init__(self, folder: Path, trusted: Mapping[str, bytes] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        git_in(folder, "init", "--quiet", "--initial-branch=main")
        for path, data in (trusted or {}).items():
            _write(folder / path, data)
        self.kept = folder_of(make_id(1))
        self._write(self.kept, make_record(folder.parent / "jobs", make_id(1)))
        self.base = commit_all(folder, "trusted")

    def propose(
        self, name: str, records: Mapping[str, Mapping[str, bytes]], **others: bytes | None
    ) -> str:
        """A branch with more records, and other paths written or (None) removed; its commit."""
        git_in(self.folder, "checkout", "--quiet", "-b", name, self.base)
        for folder, files in records.items():
            self._write(folder, files)
        for path, data in others.items():
            if data is None:
                (self.folder / path).unlink()
            else:
                _write(self.folder / path, data)
        commit = commit_all(self.folder, name)
        git_in(self.folder, "checkout", "--quiet", "main")
        return commit

    def open_request(self, number: int, commit: str) -> dict[str, Any]:
        """The refs of a pull request as GitHub makes them; returns its event."""
        git_in(self.folder, "checkout", "--quiet", "--detach", self.base)
        git_in(self.folder, "merge", "--quiet", "--no-ff", "--message", "merge", commit)
        git_in(self.folder, "update-ref", f"refs/pull/{number}/merge", "HEAD")
        git_in(self.folder, "update-ref", f"refs/pull/{number}/head", commit)
        git_in(self.folder, "checkout", "--quiet", "main")
        base = {"sha": self.base, "ref": "main"}
        return {"pull_request": {"number": number, "base": base, "head": {"sha": commit}}}

    def four(self) -> Iterator[tuple[str, str]]:
        """(name, commit) of a good, a failing, a tampered and a missing record."""
        scratch = self.folder.parent / "jobs"
        good, bad = (make_record(scratch, make_id(n), good=n == 2) for n in (2, 3))
        missing: dict[str, Any] = {
            name: data for name, data in good.items() if name != SAMPLES_NAME
        }
        yield "good", self.propose("good", {folder_of(make_id(2)): good})
        yield "failing", self.propose("failing", {folder_of(make_id(3)): bad})
        tampered = flip_a_verdict(bad)
        yield "tampered", self.propose("tampered", {folder_of(make_id(3)): tampered})
        yield "missing", self.propose("missing", {folder_of(make_id(2)): missing})

    def _write(self, folder: str, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            _write(self.folder / ROOT / folder / name, data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
