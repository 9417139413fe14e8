"""A folder or file of this machine as one archive with one digest, the same every time."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bridge.errors import IntegrityError
from executors.supervise.transfer import BLOCK_BYTES, digest_file


@dataclass(frozen=True, slots=True)
class Parcel:
    """An archive whose one entry `it` is the folder or file; `digest` is SHA-256 in hex."""

    path: Path
    digest: str


@contextlib.contextmanager
def wrap(source: Path, *, follow_links: bool) -> Iterator[Parcel]:
    """An archive of `source` in a temporary file; times and owners are left out of it."""
    with tempfile.TemporaryDirectory(prefix="kakeya-parcel-") as folder:
        path = Path(folder) / "parcel.tar"
        with tarfile.open(path, "w", dereference=follow_links) as tar:
            _add(tar, source, "it")
        yield Parcel(path, digest_file(path))


def unwrap(archive: Path, target: Path) -> None:
    """Write the plain files of an archive from another machine below `target`.

    Raises:
        IntegrityError: an entry is no plain file, or would lie elsewhere.
    """
    with tarfile.open(archive) as tar:
        for entry in tar:
            name = PurePosixPath(entry.name)
            if not entry.isfile() or name.is_absolute() or ".." in name.parts:
                raise IntegrityError(
                    f"the far side sent {entry.name!r}, which is no plain file below the job's "
                    "folder",
                    remedy="the host is broken or hostile; take it out of the runner's file",
                )
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(entry)
            assert content is not None
            with path.open("wb") as file:
                while block := content.read(BLOCK_BYTES):
                    file.write(block)


def _add(tar: tarfile.TarFile, source: Path, name: str) -> None:
    entry = tar.gettarinfo(str(source), name)
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    if entry.islnk():  # a second name of a file already in the archive: send its bytes again
        entry.type, entry.size = tarfile.REGTYPE, source.stat().st_size
    if entry.isfile():
        with source.open("rb") as file:
            tar.addfile(entry, file)
        return
    tar.addfile(entry)
    if entry.isdir():
        for child in sorted(source.iterdir()):
            _add(tar, child, f"{name}/{child.name}")
