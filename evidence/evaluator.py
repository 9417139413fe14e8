"""The digest of what judges: every source file of `evidence/` and of the leaf."""

from __future__ import annotations

import functools
from importlib import resources
from importlib.resources.abc import Traversable

from bridge import canonical

VERSION = "1"
LEAF = (
    "errors.py",
    "canonical.py",
    "schema.py",
    "objects.py",
    "sshsig.py",
    "plans.py",
    "records.py",
    "states.py",
    "signers.py",
)
_SUFFIXES = (".py", ".json", ".j2", ".css")


@functools.cache
def evaluator() -> dict[str, str]:
    """Version and digest of the evaluator that runs."""
    return {"version": VERSION, "digest": canonical.digest(evaluator_files())}


def evaluator_files() -> dict[str, str]:
    """Path to sha256 of every file that can move a verdict."""
    files: dict[str, str] = {}
    _collect(resources.files("evidence"), "evidence", files)
    leaf = resources.files("bridge")
    for name in LEAF:
        file = leaf.joinpath(name)
        if file.is_file():
            files[f"bridge/{name}"] = canonical.digest_bytes(file.read_bytes())
    return files


def _collect(folder: Traversable, path: str, files: dict[str, str]) -> None:
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        inner = f"{path}/{item.name}"
        if item.is_dir() and item.name not in ("__pycache__", "records"):
            _collect(item, inner, files)
        elif item.is_file() and item.name.endswith(_SUFFIXES):
            files[inner] = canonical.digest_bytes(item.read_bytes())
