"""What a job left in its output folder, taken with suspicion: plain files of bounded size only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bridge.canonical import digest_bytes
from bridge.records import ArtifactRef

MAX_FILES = 500
MAX_FILE_BYTES = 8 * 2**20
MAX_TOTAL_BYTES = 32 * 2**20
MAX_SAMPLES_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Collected:
    """The files that go with the result, and what was left behind and why."""

    artifacts: tuple[ArtifactRef, ...]
    files: dict[str, bytes]
    left: tuple[str, ...]


def collect_artifacts(folder: Path) -> Collected:
    """Every plain file below `folder`, by relative path.

    Symlinks, devices, files with two names, `.git` paths and odd names are left, and so is what
    goes beyond the bounds; each is named in `left`.
    """
    artifacts: list[ArtifactRef] = []
    files: dict[str, bytes] = {}
    left: list[str] = []
    total = 0
    for path, relative in _walk(folder):
        fault = _name_fault(relative)
        if fault is None and len(files) >= MAX_FILES:
            fault = f"more than {MAX_FILES} files"
        data = None if fault else read_plain(path, MAX_FILE_BYTES)
        if data is None or total + len(data) > MAX_TOTAL_BYTES:
            if len(left) < 50:
                left.append(f"{ascii(relative)[1:-1]}: {fault or 'no plain file of this size'}")
            continue
        total += len(data)
        files[relative] = data
        artifacts.append(ArtifactRef(relative, digest_bytes(data), len(data)))
    return Collected(tuple(artifacts), files, tuple(left))


def read_plain(path: Path, limit: int) -> bytes | None:
    """The content of a plain file of at most `limit` bytes; None for anything else."""
    try:
        # without O_NOFOLLOW a link swapped in after the check would lead out of the folder
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_size > limit:
            return None
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def read_tail(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a plain file; nothing for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            return b""
        file.seek(max(0, facts.st_size - limit))
        return file.read(limit)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            yield path, path.relative_to(folder).as_posix()


def _name_fault(relative: str) -> str | None:
    parts = relative.split("/")
    if len(relative) > 300 or not relative.isprintable() or len(parts) > 6:
        return "an odd name"
    if any(
        part.casefold().startswith((".git", "git~")) or part in ("", ".", "..") for part in parts
    ):
        return "git metadata"
    return None
