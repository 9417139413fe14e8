"""A checkpoint folder as one archive: plain files of bounded size, and whose they are."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.errors import IntegrityError, TooLargeError
from bridge.runner.collect import name_fault, open_plain, walk_files

MAX_FILES = 2_000
_ORIGIN = "origin.json"
_FILES = "files/"
_MAX_ORIGIN_BYTES = 4096
_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Origin:
    """Which attempt of which request wrote a checkpoint, at which step of its own."""

    request: str
    attempt: int
    step: int


def fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...] | None:
    """What tells whether a folder has changed: names, sizes, times; None where it is empty."""
    found = []
    for path, relative in walk_files(folder):
        try:
            facts = os.lstat(path)
        except OSError:
            continue  # the job moves its files while we look
        found.append((relative, facts.st_size, facts.st_mtime_ns))
    return tuple(found) or None


def pack(folder: Path, origin: Origin, archive: Path, *, max_bytes: int) -> None:
    """Write the plain files of `folder` to `archive`; what is no plain file stays behind.

    A file that grows meanwhile is taken as long as it was when it was opened.

    Raises:
        TooLargeError: more than `max_bytes`, or too many files.
    """
    total = 0
    with tarfile.open(archive, "w") as tar:
        data = json.dumps(asdict(origin)).encode()
        tar.addfile(_entry(_ORIGIN, len(data)), io.BytesIO(data))
        for number, (path, relative) in enumerate(walk_files(folder), 1):
            if number > MAX_FILES:
                raise TooLargeError(f"more than {MAX_FILES} files", where=str(folder))
            if name_fault(relative):
                continue
            try:
                file = open_plain(path)
            except OSError:
                continue
            with file:
                size = os.fstat(file.fileno()).st_size
                total += size
                if total > max_bytes:
                    raise TooLargeError(
                        f"it has more than the {max_bytes / 2**20:.0f} MiB of the preset",
                        where=str(folder),
                        remedy="checkpoint.max_mb of the preset",
                    )
                try:
                    tar.addfile(_entry(_FILES + relative, size), file)
                except OSError as error:
                    raise IntegrityError(
                        f"{relative} was cut short while it was read", where=str(folder)
                    ) from error


def unpack(archive: Path, wanted: Origin, target: Path, *, max_bytes: int) -> None:
    """Write the files of a checkpoint below the new folder `target`.

    Raises:
        IntegrityError: it is no archive of `pack`, or another attempt's or request's.
        TooLargeError: more than `max_bytes`, or too many files.
    """
    target.mkdir(parents=True)
    total = 0
    try:
        with tarfile.open(archive, "r:") as tar:
            _check_origin(tar, wanted)
            for number, entry in enumerate(tar, 0):
                if number == 0:
                    continue
                total += entry.size
                if number > MAX_FILES or total > max_bytes:
                    raise TooLargeError("it is larger than its preset keeps", where=archive.name)
                _write(tar, entry, target)
    except (tarfile.TarError, ValueError, OSError) as error:
        raise IntegrityError(f"no checkpoint: {error}", where=archive.name) from error


def _check_origin(tar: tarfile.TarFile, wanted: Origin) -> None:
    first = tar.next()
    if first is None or first.name != _ORIGIN or not first.isreg():
        raise IntegrityError("it does not say whose it is", where=_ORIGIN)
    content = tar.extractfile(first)
    assert content is not None
    found = json.loads(content.read(_MAX_ORIGIN_BYTES))
    if found != asdict(wanted):
        raise IntegrityError("it belongs to another request or attempt", where=_ORIGIN)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    relative = entry.name.removeprefix(_FILES)
    if not entry.isreg() or relative == entry.name or name_fault(relative):
        raise IntegrityError(f"{ascii(entry.name)[:80]} is no plain file of it", where="archive")
    path = target.joinpath(*relative.split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(entry)
    assert content is not None
    with path.open("xb") as file:
        while block := content.read(_BLOCK_BYTES):
            file.write(block)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry
