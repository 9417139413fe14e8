"""Files that are whole or absent, also after a power cut; and the size of a folder."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    with _beside(path, data, mode) as temporary:
        os.replace(temporary, path)
    _sync_folder(path.parent)


def create_once(path: Path, data: bytes, *, mode: int = 0o644) -> bool:
    """Write a file whole unless it exists; say whether this call wrote it."""
    with _beside(path, data, mode) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    _sync_folder(path.parent)
    return True


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON for a person and a program: sorted, indented, one newline at the end."""
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, None where there is no file.

    Raises:
        ValueError: the file is not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except RecursionError as error:  # brackets without end
        raise ValueError(f"{path} is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return cast("dict[str, Any]", value)


def folder_bytes(path: Path) -> int:
    """Bytes under a folder: for each file the larger of its length and its blocks.

    Symlinks are counted as themselves. What vanishes meanwhile counts nothing.
    """
    total = 0
    pending = [os.fspath(path)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    facts = entry.stat(follow_symlinks=False)
                    total += max(facts.st_size, facts.st_blocks * 512)
    return total


@contextlib.contextmanager
def _beside(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems do not sync folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
