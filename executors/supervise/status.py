"""What became of a job folder, seen from the machine that runs it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cgroup, processes
from .files import create_once, encode, read_json
from .launch import ENDED, GROUP, MARK, STARTED, Ending, ending_from_json

DEAD = "its supervisor ended without a word: killed, or the machine was restarted"


@dataclass(frozen=True, slots=True)
class Started:
    """The process that holds a job, as `supervisor.json` names it."""

    pid: int
    started: str
    mark: str

    def as_text(self) -> dict[str, str]:
        """The fields as text; the inverse of `started_from`."""
        return {"pid": str(self.pid), "started": self.started, "mark": self.mark}


def started_from(data: Mapping[str, Any]) -> Started:
    """What a `supervisor.json`, or a handle that copied it, says.

    Raises:
        ValueError: a field is missing or of another shape.
    """
    try:
        return Started(int(data["pid"]), str(data["started"]), str(data["mark"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a supervisor's file: {error}") from error


def read_started(job_dir: Path) -> Started | None:
    """The supervisor of a job folder, None before one has started; raises as `started_from`."""
    data = read_json(job_dir / STARTED)
    return None if data is None else started_from(data)


def look(job_dir: Path, known: Started | None = None) -> tuple[str, Ending | None]:
    """The state of a job folder, waiting, running or ended, and its end.

    A job whose supervisor is dead without a word is buried: what is left of it is ended.

    Args:
        job_dir: the folder.
        known: its supervisor, where the caller wrote it down: the job may spoil the file.
    """
    try:
        started = known or read_started(job_dir)
    except ValueError as error:
        return "ended", read_ending(job_dir) or Ending(None, None, "vanished", str(error))
    if started is None:
        ending = read_ending(job_dir)
        return ("waiting" if ending is None else "ended"), ending
    # A living supervisor has the last word: exit.json is believed once it is gone, so that a job
    # that writes the file itself ends nothing.
    if processes.identity(started.pid) == started.started:
        return "running", None
    return "ended", read_ending(job_dir) or bury(job_dir, started.mark)


def read_ending(job_dir: Path) -> Ending | None:
    """The job's end as its supervisor wrote it, None where it did not."""
    try:
        data = read_json(job_dir / ENDED)
        return None if data is None else ending_from_json(data)
    except ValueError as error:
        return Ending(None, None, "vanished", f"exit.json cannot be read: {error}")


def bury(job_dir: Path, mark: str, detail: str = DEAD) -> Ending:
    """End what a dead supervisor left behind and write the end that it could not write."""
    if (job_dir / GROUP).exists():
        cgroup.sweep(Path((job_dir / GROUP).read_text()))
    left = 0
    while rows := processes.marked(processes.table(), f"{MARK}={mark}"):
        sent = processes.send(rows, signal.SIGKILL)
        if not sent:  # not ours to kill
            break
        left = max(left, sent)
    ending = Ending(None, None, "vanished", detail, leftovers=left)
    create_once(job_dir / ENDED, encode(ending.as_json()))
    return read_ending(job_dir) or ending
