"""The job's output on its way to the log: bytes as they come, up to a bound."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK_BYTES = 65536


class Log:
    """Takes what a pipe holds into a file; past `limit_bytes` it counts and drops.

    Attributes:
        seen: bytes that the job wrote, kept or not.
        open: whether anybody may still write to the pipe.
    """

    def __init__(self, pipe: int, path: Path, limit_bytes: int) -> None:
        self._pipe = pipe
        self._limit = limit_bytes
        self._file = path.open("ab", buffering=0)
        self.seen = 0
        self.open = True

    @property
    def flooded(self) -> bool:
        """Whether the job wrote more than the bound."""
        return self.seen > self._limit

    def take(self) -> bool:
        """Move one block; False when there was none to be had."""
        try:
            block = os.read(self._pipe, BLOCK_BYTES)
        except BlockingIOError:
            return False
        if not block:
            self.open = False
            return False
        room = max(0, self._limit - self.seen)
        self._file.write(block[:room])
        self.seen += len(block)
        return True

    def note(self, text: str) -> None:
        """Add a line of the supervisor's own."""
        self._file.write(f"\n[kakeya] {text}\n".encode())

    def close(self) -> None:
        """Make the log durable and let go of the pipe."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.close(self._pipe)
