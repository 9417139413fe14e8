"""How far a workload is: a JSON line for the runner, a bar or a line for a person."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

LINE_INTERVAL_S = 5.0


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

    The time left is the time each step took in this attempt times the steps that are left; steps
    that a former attempt finished do not count as fast ones.
    """

    def __init__(self, display: Display, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._file: IO[str] | None = None
        self._started_s = clock()
        self._skipped = 0

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
        self._started_s = self._clock()

    def skip(self, steps: int = 1) -> None:
        """Steps that a former attempt finished, so that they do not flatter the estimate."""
        self._skipped += steps

    def report(self, step: int, total: int | None, note: str = "") -> None:
        """`step` of `total` steps are done."""
        eta_s = None
        done = step - self._skipped
        if total is not None and done > 0:
            eta_s = round((self._clock() - self._started_s) / done * max(total - step, 0), 3)
        if self._file is not None:
            row = {"step": step, "total": total, "eta_s": eta_s, "note": note}
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
        self._display.show(step, total, eta_s, note)

    def close(self) -> None:
        """Close the file and the display."""
        self._display.close()
        if self._file is not None:
            self._file.close()
            self._file = None
