"""git-lfs, for artifacts that are too large for git's own objects; part of git's surroundings.

The objects are named by the same SHA-256 as everywhere here, so that a pointer can be written
without git-lfs and what comes is checked without it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bridge.errors import BusError, MissingPartError
from bridge.git.answers import explain, is_too_large
from bridge.git.remote import Git

POINTER_BYTES = 1024
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,16})\n\Z"
)


def write_pointer(sha256_hex: str, size: int) -> bytes:
    """What stands in git's tree for an object that git-lfs keeps."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256_hex}\nsize {size}\n"
    return text.encode()


def read_pointer(data: bytes) -> tuple[str, int] | None:
    """The SHA-256 in hex and the size that a pointer names, None for anything else."""
    match = _POINTER.match(data)
    return (match[1].decode(), int(match[2])) if match else None


def lfs_path(git: Git, sha256_hex: str) -> Path:
    """Where git-lfs keeps an object in a bare cache of ours."""
    return git.path / "lfs" / "objects" / sha256_hex[:2] / sha256_hex[2:4] / sha256_hex


def push_object(git: Git, url: str, sha256_hex: str) -> None:
    """Send an object that lies at `lfs_path` to the remote's LFS store.

    Raises:
        MissingPartError: git-lfs is not installed here.
        BusError: the remote has no LFS, or did not answer.
    """
    _run(git, url, "push", sha256_hex, "--object-id")


def fetch_object(git: Git, url: str, commit: str, sha256_hex: str, size: int) -> Path:
    """Bring the object that a pointer in `commit` names; where it lies, still unchecked.

    Raises:
        MissingPartError: git-lfs is not installed here.
        BusError: the remote has no LFS or no such object, or did not answer.
    """
    _run(git, url, "fetch", commit, max_bytes=size + POINTER_BYTES)
    path = lfs_path(git, sha256_hex)
    if not path.is_file():
        raise BusError("its LFS store has no such object", where=f"{url}: {sha256_hex}")
    return path


def _run(git: Git, url: str, verb: str, *arguments: str, max_bytes: int | None = None) -> None:
    if shutil.which("git-lfs") is None:
        raise MissingPartError(
            "git-lfs is not installed", where="PATH", remedy="install git-lfs (Debian: git-lfs)"
        )
    status, _, err = git.lfs(url, verb, *arguments, max_bytes=max_bytes)
    if status:
        bound = " (it sent more than its pointer says)" if is_too_large(err) else ""
        raise BusError(
            f"LFS: {explain(err)}{bound}",
            where=url,
            remedy="check that the remote serves LFS; artifacts.lfs_from_mb switches it on",
        )
