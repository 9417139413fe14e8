"""Folders as streams between two machines: one digest in, only plain files out."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

BLOCK_BYTES = 2**20


def digest_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            seen.update(block)
    return seen.hexdigest()


def unpack(archive: Path, digest: str, target: Path) -> None:
    """Make `target` from an archive of ours, whole or not at all; one that is there is kept.

    Both are marked as used now, for `prune`.

    Raises:
        ValueError: the archive has another digest than `digest`.
    """
    if archive.exists():
        os.utime(archive)
    if target.exists():
        os.utime(target)
        return
    if digest_file(archive) != digest:
        archive.unlink()
        raise ValueError(f"{archive} was damaged and is removed; send it again")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    # The near side wrote it from real files, so no entry lies below a link. Python 3.14 would
    # refuse the links to elsewhere that a commit may hold.
    trusting: dict[str, Any] = (
        {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
    )
    with tarfile.open(archive) as tar:
        tar.extractall(partial, **trusting)  # noqa: S202
    try:
        (partial / "it").rename(target)
        os.utime(target)
    except OSError:  # another call was first
        if not target.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def pack(folder: Path, names: Sequence[str], stream: IO[bytes]) -> None:
    """Write an archive of some files and folders below `folder`: plain files, nothing else."""
    with tarfile.open(fileobj=stream, mode="w|") as tar:
        for name in names:
            for path in _plain_below(folder / name):
                try:
                    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                        entry = tar.gettarinfo(str(path), str(path.relative_to(folder)), file)
                        if entry.isfile():
                            tar.addfile(entry, file)
                except OSError:  # it went meanwhile
                    continue


def _plain_below(path: Path) -> Iterator[Path]:
    if path.is_file() and not path.is_symlink():
        yield path
    for root, _, files in os.walk(path):
        for name in sorted(files):
            one = Path(root, name)
            if one.is_file() and not one.is_symlink():
                yield one
