"""How a waiting command tells what happens: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bridge.cli.output import escape_controls, print_json, say

if TYPE_CHECKING:
    from bridge.client.outcomes import JobStatus
    from bridge.client.waiting import Watcher
    from bridge.records import Progress

PROGRESS_EVERY_S = 5.0
"""Plain lines tell progress at most this often; changes of state always."""


def describe(status: JobStatus) -> str:
    """Where a job stands, in one line."""
    words = [status.state.value if status.state else "unreadable"]
    if status.state and status.state.value in ("claimed", "running"):
        words.append(f"attempt {status.attempt} by {status.runner}")
        if status.progress:
            words.append(describe_progress(status.progress))
    elif status.state and status.state.value == "queued" and status.attempt > 1:
        words.append(f"attempt {status.attempt} is next")
    if status.verdict:
        words.append(f"verdict {status.verdict}")
    return ", ".join(words)


def describe_progress(progress: Progress) -> str:
    """A job's own progress in words."""
    text = f"step {progress.step}"
    text += f" of {progress.total}" if progress.total is not None else ""
    text += f", {progress.eta_s:.0f} s left" if progress.eta_s is not None else ""
    return f"{text} ({progress.note})" if progress.note else text


class PlainWatcher:
    """One line on stderr for each change."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._state: tuple[Any, ...] = ()
        self._told_at_s = float("-inf")

    def begin(self) -> None:
        """See `Watcher.begin`."""

    def end(self) -> None:
        """See `Watcher.end`."""

    def update(self, status: JobStatus) -> None:
        """See `Watcher.update`."""
        state = (status.state, status.attempt, status.runner)
        now_s = self._now_s()
        if state != self._state or now_s - self._told_at_s >= PROGRESS_EVERY_S:
            self._state, self._told_at_s = state, now_s
            say(describe(status))

    def note(self, text: str) -> None:
        """See `Watcher.note`."""
        say(f"note: {text}")


class JsonWatcher:
    """One JSON object on stdout each time that the job tells how far it is."""

    def __init__(self) -> None:
        self._told: Progress | None = None

    def begin(self) -> None:
        """See `Watcher.begin`."""

    def end(self) -> None:
        """See `Watcher.end`."""

    def update(self, status: JobStatus) -> None:
        """See `Watcher.update`."""
        progress = status.progress
        if progress is None or progress == self._told:
            return
        self._told = progress
        print_json(
            {
                "schema": "kakeya.progress/1",
                "attempt": status.attempt,
                "step": progress.step,
                "total": progress.total,
                "eta_s": progress.eta_s,
                "note": progress.note,
            }
        )

    def note(self, text: str) -> None:
        """See `Watcher.note`."""
        say(f"note: {text}")


class TerminalWatcher:
    """A live line with a bar; notes scroll by above it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from bridge.cli.output import stderr_console

        self._console = stderr_console()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("looking for the job", total=None)
        self._state: tuple[Any, ...] = ()

    def begin(self) -> None:
        """See `Watcher.begin`."""
        self._progress.start()

    def end(self) -> None:
        """See `Watcher.end`."""
        self._progress.stop()

    def update(self, status: JobStatus) -> None:
        """See `Watcher.update`."""
        state = (status.state, status.attempt, status.runner)
        line = escape_controls(describe(status))
        if state != self._state:
            self._state = state
            self._console.print(line, markup=False)
        progress = status.progress
        self._progress.update(
            self._task,
            description=line,
            total=progress.total if progress else None,
            completed=progress.step if progress else 0,
        )

    def note(self, text: str) -> None:
        """See `Watcher.note`."""
        self._console.print(f"note: {escape_controls(text)}", markup=False, style="dim")


def make_watcher(*, quiet: bool = False) -> Watcher:
    """The watcher that suits stderr."""
    if sys.stderr.isatty() and not quiet:
        return TerminalWatcher()
    return PlainWatcher()
