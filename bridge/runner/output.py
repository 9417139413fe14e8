"""A job's output and progress on the way to the bus: bounded, whole lines, secrets masked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridge import canonical
from bridge.errors import KakeyaError
from bridge.records import Progress, clean_text
from bridge.runner.collect import read_tail
from executors.contract import Executor, Handle

MAX_CHUNK_BYTES = 256 * 1024
MAX_LOG_BYTES = 8 * 2**20
MASK = b"***"
_MAX_ROW_BYTES = 4096
_MAX_ETA_S = 1e9
_MIN_SECRET_BYTES = 4  # shorter values would mask half of every log


class Output:
    """Reads ahead of the bus by one chunk at most, so that a flood waits on the job's disk.

    Args:
        executor: where the output comes from.
        secrets: values that are masked; this stops accidents, not malice.
    """

    def __init__(self, executor: Executor, secrets: Sequence[bytes] = ()) -> None:
        self.offset = 0
        self._executor = executor
        self._secrets = [value for value in secrets if len(value) >= _MIN_SECRET_BYTES]
        self._ahead = b""
        self._taken = b""

    def read(self, handle: Handle) -> None:
        """Fetch what there is room for."""
        start = self.offset + len(self._ahead)
        room = min(MAX_CHUNK_BYTES - len(self._ahead), MAX_LOG_BYTES - start)
        if room > 0:
            self._ahead += self._executor.logs(handle, start, room)

    def take(self, *, whole: bool) -> bytes:
        """The next piece, up to the last end of a line; `whole`: the rest, whatever it ends in."""
        end = len(self._ahead) if whole else self._line_end()
        piece, self._ahead = self._ahead[:end], self._ahead[end:]
        self._taken += piece
        self.offset += end
        return self._mask(piece)

    def settle(self, *, won: bool) -> None:
        """Whether the bus took what was taken here since the last time; if not, it comes again."""
        if not won:
            self._ahead = self._taken + self._ahead
            self.offset -= len(self._taken)
        self._taken = b""

    def _line_end(self) -> int:
        end = max(self._ahead.rfind(b"\n"), self._ahead.rfind(b"\r")) + 1
        full = len(self._ahead) >= MAX_CHUNK_BYTES
        return end or (len(self._ahead) if full else 0)

    def _mask(self, piece: bytes) -> bytes:
        for value in self._secrets:
            piece = piece.replace(value, MASK)
        return piece


def read_progress(out: Path) -> Progress | None:
    """A job's latest report of progress in its output folder, None if there is none.

    A report that no record may hold (a job writes what it likes: NaN, a negative step, brackets
    without end) counts as none.
    """
    tail = read_tail(out / "progress.jsonl", _MAX_ROW_BYTES)
    try:
        row = canonical.decode(tail.strip().rpartition(b"\n")[2], max_bytes=_MAX_ROW_BYTES)
        total, eta_s = row.get("total"), row.get("eta_s")
        return Progress(
            step=_count(row["step"]),
            total=None if total is None else _count(total),
            eta_s=None if eta_s is None else round(min(max(float(eta_s), 0.0), _MAX_ETA_S), 1),
            note=clean_text(str(row.get("note", "")), 200),
        )
    except (KakeyaError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None  # none yet, half written, or not what a progress row is


def _count(value: object) -> int:
    """A number of steps, as a record may hold it."""
    count = int(value)  # type: ignore[call-overload]
    if not 0 <= count <= canonical.MAX_SAFE_INTEGER:
        raise ValueError("out of bounds")
    return int(count)
