"""How far a workload is: a JSON line for the runner, a bar or a line for a person."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

LINE_INTERVAL_S = 5.0
HALF_LIFE_STEPS = 5.0


class Display(Protocol):
    """Shows progress to a person."""

    def show(self, step: int, total: int | None, eta_s: float | None, note: str) -> None:
        """Show one state."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """Plain lines, at most one each five seconds, and always the last."""

    def __init__(self, stream: IO[str], clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last_s: float | None = None

    def show(self, step: int, total: int | None, eta_s: float | None, note: str) -> None:
        """Write a line, unless one was written just now."""
        now_s = self._clock()
        if step != total and self._last_s is not None and now_s - self._last_s < LINE_INTERVAL_S:
            return
        self._last_s = now_s
        known = f"{step}/{total}" if total is not None else str(step)
        left = f", about {eta_s:.0f} s left" if eta_s is not None and step != total else ""
        self._stream.write(f"{known} {note}{left}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to restore."""


class Bar:
    """A rich progress bar."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task: Any = None

    def show(self, step: int, total: int | None, eta_s: float | None, note: str) -> None:
        """Move the bar; rich makes its own estimate of the time left."""
        del eta_s
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(note, total=total)
        self._bar.update(self._task, completed=step, total=total, description=note)

    def close(self) -> None:
        """Stop redrawing."""
        self._bar.stop()


class Progress:
    """Writes `progress.jsonl` and shows each state on a `Display`.

    The time left is the steps that are left times what each of the last ones took: a mean whose
    weights halve every `HALF_LIFE_STEPS`, since the parts of a run have steps of unlike length.
    Steps that a former attempt finished do not count as fast ones.
    """

    def __init__(self, display: Display, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._file: IO[str] | None = None
        self._last_s = clock()
        self._done = 0
        self._skipped = 0
        self._weighted_s = self._weight = 0.0

    @classmethod
    def to_terminal(cls) -> Progress:
        """A bar on a terminal where rich is installed, plain lines elsewhere; on stderr."""
        if sys.stderr.isatty():
            try:
                from rich import progress
                from rich.console import Console
            except ImportError:
                return cls(Lines(sys.stderr, time.monotonic))
            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
            )
            return cls(Bar(progress.Progress(*columns, console=Console(stderr=True))))
        return cls(Lines(sys.stderr, time.monotonic))

    def open(self, path: Path) -> None:
        """Start writing to `path`."""
        self._file = path.open("w", encoding="utf-8")
        self._last_s = self._clock()

    def skip(self, steps: int = 1) -> None:
        """Steps that a former attempt finished, so that they do not flatter the estimate."""
        self._skipped += steps

    def report(self, step: int, total: int | None, note: str = "") -> None:
        """`step` of `total` steps are done."""
        self._learn(step - self._skipped)
        eta_s = None
        if total is not None and self._weight:
            eta_s = round(self._weighted_s / self._weight * max(total - step, 0), 3)
        if self._file is not None:
            row = {"step": step, "total": total, "eta_s": eta_s, "note": note}
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
        self._display.show(step, total, eta_s, note)

    def _learn(self, done: int) -> None:
        """So many steps were done by this attempt."""
        new = done - self._done
        if new <= 0:
            return
        now_s = self._clock()
        kept = 0.5 ** (new / HALF_LIFE_STEPS)
        self._weighted_s = kept * self._weighted_s + (1 - kept) * (now_s - self._last_s) / new
        self._weight = kept * self._weight + 1 - kept
        self._done, self._last_s = done, now_s

    def close(self) -> None:
        """Close the file and the display."""
        self._display.close()
        if self._file is not None:
            self._file.close()
            self._file = None
