"""What lies by its digest for later jobs, kept below a bound: the longest unused goes first."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from .files import folder_bytes

STORE = "store"
INPUTS = "inputs"
JOBS = "jobs"
REST_S = 3600.0
"""What was used so lately stays: a job that needs it may be on its way here."""


@dataclass(frozen=True)
class _Kept:
    path: Path
    size: int
    used_s: float
    twice: bool


def prune(root: Path, limit_bytes: int, now_s: float) -> list[str]:
    """Delete unused archives and inputs below `root` until they fit; the names of those deleted.

    An archive of inputs that are unpacked too goes first. What a job here names is left alone.

    Args:
        root: the executor's folder on this host.
        limit_bytes: what archives and inputs together may hold.
        now_s: Unix seconds of this host's clock, as its files' times are.
    """
    found = [*_archives(root), *_inputs(root)]
    used = _named_by_jobs(root)
    total = sum(item.size for item in found)
    gone = []
    for item in sorted(found, key=lambda item: (not item.twice, item.used_s)):
        if total <= limit_bytes:
            break
        if now_s - item.used_s < REST_S or item.path.name in used:
            continue
        _delete(item.path)
        total -= item.size
        gone.append(item.path.name)
    return gone


def _archives(root: Path) -> list[_Kept]:
    unpacked = root / INPUTS
    return [
        _Kept(path, path.stat().st_size, path.stat().st_mtime, (unpacked / path.stem).exists())
        for path in (root / STORE).glob("*.tar")
    ]


def _inputs(root: Path) -> list[_Kept]:
    paths = (root / INPUTS).iterdir() if (root / INPUTS).is_dir() else ()
    return [
        _Kept(path, folder_bytes(path) if path.is_dir() else stat.st_size, stat.st_mtime, False)
        for path in paths
        if not path.name.startswith(".") and (stat := path.stat())
    ]


def _named_by_jobs(root: Path) -> set[str]:
    """The digests of inputs that a job whose folder is here reads."""
    texts = [path.read_text("utf-8") for path in (root / JOBS).glob("*/job.json")]
    names = (path.name for path in (root / INPUTS).glob("*"))
    return {name for name in names if any(name in text for text in texts)}


def _delete(path: Path) -> None:
    """Out of the way first: nobody may find half of it."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.replace(path, aside)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink()
