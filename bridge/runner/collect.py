"""What a job left in its output folder, taken with suspicion: plain files of bounded size only."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bridge.canonical import digest_bytes
from bridge.records import ArtifactRef

MAX_FILES = 500
MAX_FILE_BYTES = 8 * 2**20
MAX_TOTAL_BYTES = 32 * 2**20
MAX_SAMPLES_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Collected:
    """The files that go with the result, what was left behind and why.

    `large` are the paths of plain files that no chain carries: they go to refs of their own.
    """

    artifacts: tuple[ArtifactRef, ...]
    files: dict[str, bytes]
    left: tuple[str, ...]
    large: tuple[str, ...] = ()


def collect_artifacts(folder: Path) -> Collected:
    """Every plain file below `folder`, by relative path.

    Symlinks, devices, files with two names, `.git` paths and odd names are left; each is named in
    `left`. What goes beyond the bounds of a chain is in `large`.
    """
    artifacts: list[ArtifactRef] = []
    files: dict[str, bytes] = {}
    left: list[str] = []
    large: list[str] = []
    total = 0
    for path, relative in walk_files(folder):
        fault = name_fault(relative)
        if fault is None and len(files) + len(large) >= MAX_FILES:
            fault = f"more than {MAX_FILES} files"
        data = None if fault else read_plain(path, min(MAX_FILE_BYTES, MAX_TOTAL_BYTES - total))
        if data is None:
            if fault is None and _is_plain(path):
                large.append(relative)
            elif len(left) < 50:
                left.append(f"{ascii(relative)[1:-1]}: {fault or 'no plain file'}")
            continue
        total += len(data)
        files[relative] = data
        artifacts.append(ArtifactRef(relative, digest_bytes(data), len(data)))
    return Collected(tuple(artifacts), files, tuple(left), tuple(large))


def open_plain(path: Path) -> IO[bytes]:
    """A plain file, opened for reading.

    Raises:
        OSError: it is something else, or cannot be opened.
    """
    # without O_NOFOLLOW a link swapped in after the check would lead out of the folder
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        os.close(handle)
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return os.fdopen(handle, "rb")


def read_plain(path: Path, limit: int) -> bytes | None:
    """The content of a plain file of at most `limit` bytes; None for anything else."""
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size > limit:
                return None
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None


def _is_plain(path: Path) -> bool:
    try:
        open_plain(path).close()
    except OSError:
        return False
    return True


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


def walk_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Everything below `folder` that is no folder, with its relative path, in order."""
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            yield path, path.relative_to(folder).as_posix()


def name_fault(relative: str) -> str | None:
    """Why a relative path is not taken, None where it is."""
    parts = relative.split("/")
    if len(relative) > 300 or not relative.isprintable() or len(parts) > 6:
        return "an odd name"
    if any(
        part.casefold().startswith((".git", "git~")) or part in ("", ".", "..") for part in parts
    ):
        return "git metadata"
    return None
