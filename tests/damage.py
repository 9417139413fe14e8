"""What can happen to a clone on disk, each kind by its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def list_files(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def empty(folder: Path) -> None:
    """Cut every file below a folder to nothing."""
    for path in list_files(folder):
        path.chmod(0o644)
        path.write_bytes(b"")


def _flip(folder: Path) -> None:
    for path in list_files(folder):
        data = bytearray(path.read_bytes())
        if data:
            data[len(data) // 2] ^= 0xFF
            path.chmod(0o644)
            path.write_bytes(bytes(data))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # the fast path needs no part of it, nor heals it


def _lock_refs(folder: Path) -> None:
    for path in list_files(folder / "refs"):
        path.with_name(f"{path.name}.lock").write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "the clone is gone": _remove,
    "everything is empty": empty,
    "HEAD is gone": lambda clone: (clone / "HEAD").unlink(missing_ok=True),
    "HEAD is empty": lambda clone: (clone / "HEAD").write_bytes(b""),
    "the configuration is cut off": lambda clone: (clone / "config").write_text("[core\n"),
    "the configuration is binary": lambda clone: (clone / "config").write_bytes(b"\xff\0\x01"),
    "the objects are gone": lambda clone: _remove(clone / "objects"),
    "the objects are empty": lambda clone: empty(clone / "objects"),
    "the objects are damaged": lambda clone: _flip(clone / "objects"),
    "the refs are gone": lambda clone: _remove(clone / "refs"),
    "the refs are empty": lambda clone: empty(clone / "refs"),
    "a killed git left shallow.lock": lambda clone: (clone / "shallow.lock").write_bytes(b""),
    "a killed git left packed-refs.lock": lambda clone: (clone / "packed-refs.lock").touch(),
    "a killed git left locks on refs": _lock_refs,
}
"""Kind of damage -> what does it to a bare clone."""
