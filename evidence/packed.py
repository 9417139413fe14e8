"""Files of a record as they lie in a repository: plain, or compressed as `NAME.gz`."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from bridge.errors import IntegrityError

SUFFIX = ".gz"
MAX_UNPACKED_BYTES = 64 * 1024 * 1024


def pack(data: bytes) -> bytes:
    """Compressed bytes, the same for the same data at any time and on any machine."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def unpack(data: bytes, *, where: str, max_bytes: int = MAX_UNPACKED_BYTES) -> bytes:
    """What was compressed, at most `max_bytes` of it.

    Raises:
        IntegrityError: not gzip, cut off, or larger: a small file may unpack to fill a disk.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            found = stream.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise IntegrityError(f"cannot be unpacked: {error}", where=where) from error
    if len(found) > max_bytes:
        raise IntegrityError(f"unpacks to more than {max_bytes} bytes", where=where)
    return found


def find_packed(path: Path) -> Path | None:
    """The file itself, else its compressed form, else None."""
    packed = path.with_name(path.name + SUFFIX)
    return next((one for one in (path, packed) if one.is_file()), None)


def read_packed(path: Path) -> bytes | None:
    """The bytes of a file that may be compressed; None where neither form is there.

    Raises:
        IntegrityError: the compressed form cannot be unpacked.
    """
    found = find_packed(path)
    if found is None:
        return None
    data = found.read_bytes()
    return unpack(data, where=str(found)) if found != path else data
