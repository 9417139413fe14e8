"""Content on its way to or from a file, held against its digest."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bridge.errors import IntegrityError

BLOCK_BYTES = 2**20


def write_checked(
    pieces: Iterator[bytes], sha256: str, size: int, target: Path, *, where: str
) -> int:
    """Write content to the new file `target` if it is what its digest says; its size.

    Raises:
        IntegrityError: another digest or size; nothing is left at `target`.
    """
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    seen, written = hashlib.sha256(), 0
    try:
        with partial.open("xb") as file:
            for piece in pieces:
                seen.update(piece)
                written += len(piece)
                if written > size:
                    break
                file.write(piece)
        if written != size or seen.hexdigest() != sha256:
            raise IntegrityError(
                f"what lies there is not sha256:{sha256}, {size} bytes: it has "
                f"{'more' if written > size else written} bytes, sha256:{seen.hexdigest()}",
                where=where,
                remedy="do not use it; kakeya_remote bus check names refs like this one",
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return size


def hash_file(file: IO[bytes], size: int) -> str:
    """The SHA-256 in hex of the first `size` bytes of an open file."""
    file.seek(0)
    seen, left = hashlib.sha256(), size
    while left and (block := file.read(min(left, BLOCK_BYTES))):
        seen.update(block)
        left -= len(block)
    return seen.hexdigest()
