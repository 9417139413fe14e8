"""Finished evidence by the digest of its work: kept here, or found on the bus; and judged again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge import canonical
from bridge.bus.chain import Chain
from bridge.bus.interface import Bus
from bridge.canonical import digest_bytes
from bridge.errors import IntegrityError, KakeyaError
from bridge.records import ArtifactRef, Result
from bridge.runner.outbox import write_synced
from evidence.verify import require_sound, verify
from presets.definition import Preset

EVIDENCE, SAMPLES, ORIGIN = "evidence.json", "samples.jsonl", "origin.json"
_KEPT = 500
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Finished:
    """What an ended job left that another one can be answered with.

    Attributes:
        job: whose it is.
        evidence, samples: the files of its result.
        artifacts, files: what else it left; files by path below `artifacts/`.
    """

    job: str
    evidence: bytes
    samples: bytes
    artifacts: tuple[ArtifactRef, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    def read_sound(self) -> Mapping[str, Any]:
        """The record, derived again from the samples.

        Raises:
            IntegrityError: it does not follow from them.
        """
        with tempfile.TemporaryDirectory(prefix="kakeya-reuse-") as name:
            folder = Path(name)
            (folder / EVIDENCE).write_bytes(self.evidence)
            (folder / SAMPLES).write_bytes(self.samples)
            found = verify(folder)
        require_sound(found, self.job)
        if not found.recomputed or found.record["result"]["integrity"] != "ok":
            raise IntegrityError("the record is doubted", where=self.job)
        return found.record


class Memory:
    """What one runner may answer requests with.

    Args:
        folder: where it keeps its own results.
        bus: where those of others are; asked from the runner's own thread alone.
    """

    def __init__(self, folder: Path, bus: Bus) -> None:
        self._folder, self._bus = folder, bus
        self._refs: dict[str, str] = {}

    def note(self, chain: Chain) -> None:
        """Remember where an ended job lies, if others can be answered with it."""
        result = chain.result
        if result is not None and _is_reusable(result):
            assert result.work is not None
            self._refs[result.work] = chain.ref

    def keep(self, work: str, finished: Finished) -> None:
        """Keep a result of this runner's own; the oldest ones go."""
        size = sum(map(len, finished.files.values())) + len(finished.samples)
        listed = {f"artifacts/{item.path}" for item in finished.artifacts}
        if size > _MAX_BYTES or listed != set(finished.files):
            return  # an artifact with a ref of its own could be gone when it is wanted
        place = self._place(work)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for path, data in finished.files.items():
            target = place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        origin = {
            "job": finished.job,
            "evidence": digest_bytes(finished.evidence),
            "artifacts": [[item.path, item.sha256, item.bytes] for item in finished.artifacts],
        }
        (place / SAMPLES).write_bytes(finished.samples)
        (place / EVIDENCE).write_bytes(finished.evidence)
        write_synced(place / ORIGIN, canonical.encode(origin))
        self._tidy()

    def recall(self, work: str) -> Finished | None:
        """The finished evidence of some work, None where there is none that could be read."""
        try:
            return self._read_own(work) or self._read_other(work)
        except (KakeyaError, OSError, ValueError, KeyError):
            return None  # whatever is wrong with it: the job runs

    def forget(self, work: str) -> None:
        """Never answer with this again: it does not hold."""
        self._refs.pop(work, None)
        shutil.rmtree(self._place(work), ignore_errors=True)

    def _place(self, work: str) -> Path:
        return self._folder / work.removeprefix("sha256:")

    def _read_own(self, work: str) -> Finished | None:
        place = self._place(work)
        if not (place / ORIGIN).is_file():
            return None
        origin = canonical.decode((place / ORIGIN).read_bytes(), max_bytes=2**20)
        artifacts = tuple(ArtifactRef(*row) for row in origin["artifacts"])
        evidence = (place / EVIDENCE).read_bytes()
        files = {
            f"artifacts/{item.path}": (place / f"artifacts/{item.path}").read_bytes()
            for item in artifacts
        }
        fits = all(
            digest_bytes(files[f"artifacts/{item.path}"]) == item.sha256 for item in artifacts
        )
        if digest_bytes(evidence) != origin["evidence"] or not fits:
            raise IntegrityError("what was kept has changed", where=str(place))
        samples = (place / SAMPLES).read_bytes()
        return Finished(str(origin["job"]), evidence, samples, artifacts, files)

    def _read_other(self, work: str) -> Finished | None:
        ref = self._refs.get(work)
        if ref is None:
            return None
        chain = self._bus.load(ref)
        if chain.result is None or chain.result.work != work or not _is_reusable(chain.result):
            return None
        evidence, samples = (self._bus.read(chain.files[name]) for name in (EVIDENCE, SAMPLES))
        if digest_bytes(evidence) != chain.result.evidence or chain.result.artifacts:
            return None
        return Finished(chain.job.id, evidence, samples)

    def _tidy(self) -> None:
        places = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for place in places[: max(0, len(places) - _KEPT)]:
            shutil.rmtree(place, ignore_errors=True)


def _is_reusable(result: Result) -> bool:
    return result.state == "done" and result.work is not None and result.evidence is not None


def check_same(record: Mapping[str, Any], params: Mapping[str, Any], preset: Preset) -> None:
    """Make sure that a record is of the preset and params that are asked.

    Raises:
        IntegrityError: it is of others, whatever the digest of its work said.
    """
    told = record["preset"]
    if told.get("name") != preset.name or told.get("params") != canonical.thaw(params):
        raise IntegrityError("the record is of other work than its result says")
