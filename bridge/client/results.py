"""A job's files, checked against their digests and written below one folder and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bridge import canonical
from bridge.bus.artifacts import ArtStore
from bridge.bus.binding import require_readable
from bridge.bus.chain import Chain
from bridge.bus.requester import RequesterBus
from bridge.client.outcomes import JobStatus, standing_json, status_of
from bridge.errors import IntegrityError, MissingArtifactError, UsageError
from bridge.records import ArtifactRef

EVIDENCE = "evidence.json"
MAX_EVIDENCE_BYTES = 32 * 2**20
_ARTIFACTS = "artifacts/"
_MAX_PATH = 1_000


@dataclass(frozen=True, slots=True)
class Results:
    """What was written.

    Attributes:
        folder: where the files lie.
        files: path below the folder to digest and size in bytes.
        evidence: the evidence record as JSON data, None where the job was not judged.
        left: artifacts that could not be fetched, path to reason.
    """

    status: JobStatus
    folder: Path
    files: Mapping[str, tuple[str, int]]
    evidence: Mapping[str, Any] | None
    left: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The results as `--json` prints them."""
        return {
            "schema": "kakeya.results/1",
            "id": self.status.id,
            "state": self.status.state.value if self.status.state else None,
            "verdict": self.status.verdict,
            "signed": standing_json(self.status.standing),
            "folder": str(self.folder),
            "files": [
                {"path": path, "sha256": digest, "bytes": size}
                for path, (digest, size) in self.files.items()
            ],
            "left": [{"path": path, "why": why} for path, why in self.left.items()],
            "evidence": self.evidence,
        }


def read_evidence(bus: RequesterBus, chain: Chain) -> Mapping[str, Any] | None:
    """The evidence of an ended job, or None where it has none.

    Raises:
        IntegrityError: it is not what the result says.
    """
    oid = chain.files.get(EVIDENCE)
    if oid is None or chain.result is None:
        return None
    bus.fetch_files([oid])
    data = bus.read(oid)
    _check_evidence(chain, data)
    value = canonical.decode(data, where=EVIDENCE, max_bytes=MAX_EVIDENCE_BYTES)
    return value if isinstance(value, dict) else None


def download(bus: RequesterBus, ref: str, folder: Path, store: ArtStore) -> Results:
    """Write every file of an ended job below `folder`.

    Args:
        bus: where the job lies.
        ref: its ref.
        folder: made if it is not there.
        store: gets the artifacts that are too large for the job's own commits.

    Raises:
        UsageError: the job goes on, or the folder holds other files in the way.
        IntegrityError: a path leaves the folder, or a file is not what the result says; nothing is
            written then. Of a large artifact: what was written before stays.
    """
    chain = bus.load_whole(ref)
    require_readable(chain)
    if not chain.ended:
        raise UsageError(
            f"the job has not ended ({chain.state.value if chain.state else 'unreadable'})",
            where=chain.job.id,
            remedy=f"kakeya_remote wait {chain.job.id}",
        )
    large = large_artifacts(chain)
    check_paths({**chain.files, **{_ARTIFACTS + item.path: item for item in large}})
    bus.fetch_files(chain.files.values())
    contents = {path: bus.read(oid) for path, oid in sorted(chain.files.items())}
    _check_contents(chain, contents)
    for path, data in contents.items():
        write_below(folder, path, data)
    files = {path: (canonical.digest_bytes(data), len(data)) for path, data in contents.items()}
    left: dict[str, str] = {}
    for item in large:
        path = _ARTIFACTS + item.path
        try:
            place_below(folder, path, partial(store.get, item.sha256, max_bytes=item.bytes))
            files[path] = (item.sha256, item.bytes)
        except MissingArtifactError as error:
            left[path] = error.message
    return Results(status_of(chain), folder, files, read_evidence(bus, chain), left)


def large_artifacts(chain: Chain) -> tuple[ArtifactRef, ...]:
    """The artifacts of an ended job that lie at refs of their own."""
    named = chain.result.artifacts if chain.result else ()
    return tuple(item for item in named if _ARTIFACTS + item.path not in chain.files)


def check_paths(paths: Mapping[str, Any]) -> None:
    """Refuse the paths of a result that a checkout anywhere could not hold as they are.

    Raises:
        IntegrityError: `problems` names each.
    """
    problems = []
    folded: dict[str, str] = {}
    for path in sorted(paths):
        parts = path.split("/")
        reason = _escape(path, parts)
        for place in ("/".join(parts[:count]) for count in range(1, len(parts) + 1)):
            twin = folded.setdefault(place.casefold(), place)
            if twin != place:
                reason = f"is {twin!a} on a disk that ignores case"
        if reason:
            problems.append(f"{ascii(path)[:120]}: {reason}")
    if problems:
        raise IntegrityError(
            "the result names files that are not taken",
            where="files",
            problems=tuple(problems[:20]),
            remedy="do not trust this runner's result; read it on the bus with git show",
        )


def _escape(path: str, parts: list[str]) -> str | None:
    if any(part in ("", ".", "..") for part in parts) or "\\" in path:
        return "leaves its folder, or is not in its normal form"
    if not path.isprintable() or len(path) > _MAX_PATH:
        return "holds a control or invisible character, or is too long"
    folded = [part.casefold().rstrip(". ") for part in parts]
    if any(part == ".git" or part.startswith("git~") for part in folded):
        return "names git's own folder"
    return None


def write_below(folder: Path, path: str, data: bytes) -> None:
    """Write a file below `folder`, through no symlink and over none.

    Raises:
        UsageError: something that is no plain file or folder is in the way.
    """

    def write(partial: Path) -> None:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)

    place_below(folder, path, write)


def place_below(folder: Path, path: str, write: Callable[[Path], object]) -> None:
    """Let `write` make a new file and move it to `path` below `folder`; raises as `write_below`."""
    target = folder
    folder.mkdir(parents=True, exist_ok=True)
    *parents, name = path.split("/")
    for part in parents:
        target = target / part
        target.mkdir(exist_ok=True)
        if target.is_symlink():
            raise UsageError("is a symlink", where=str(target), remedy="choose another folder")
    partial = target / f".{name}.partial"
    partial.unlink(missing_ok=True)
    write(partial)
    if (target / name).is_dir() and not (target / name).is_symlink():
        partial.unlink()
        raise UsageError("is a folder", where=str(target / name), remedy="choose another folder")
    partial.replace(target / name)


def _check_contents(chain: Chain, contents: Mapping[str, bytes]) -> None:
    assert chain.result is not None
    problems = []
    for item in chain.result.artifacts:
        data = contents.get(_ARTIFACTS + item.path)
        if data is None:
            continue  # too large for the chain: it has a ref of its own
        if canonical.digest_bytes(data) != item.sha256 or len(data) != item.bytes:
            problems.append(f"{_ARTIFACTS}{item.path}: {canonical.digest_bytes(data)}")
    listed = {_ARTIFACTS + item.path for item in chain.result.artifacts}
    problems += [
        f"{path}: the result does not list it"
        for path in contents
        if path.startswith(_ARTIFACTS) and path not in listed
    ]
    if problems:
        raise IntegrityError(
            "files differ from what the result says", where=chain.ref, problems=tuple(problems[:20])
        )
    if EVIDENCE in contents:
        _check_evidence(chain, contents[EVIDENCE])


def _check_evidence(chain: Chain, data: bytes) -> None:
    assert chain.result is not None
    digest = canonical.digest_bytes(data)
    if chain.result.evidence != digest:
        raise IntegrityError(
            f"is {digest}, the result says {chain.result.evidence}",
            where=f"{chain.ref}:{EVIDENCE}",
            remedy="do not trust this result; kakeya_remote evidence verify tells more",
        )
