"""The runner's own process, noted where other commands find it; a stale note is never believed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from bridge.errors import UsageError
from bridge.runner.outbox import write_synced

_NOTE = "process.json"


def note_process(state_dir: Path) -> None:
    """Write down which process serves; its start time tells it from a later one of that number."""
    own = psutil.Process()
    document = {"pid": own.pid, "started": own.create_time()}
    write_synced(state_dir / _NOTE, json.dumps(document).encode())


def find_process(state_dir: Path) -> psutil.Process | None:
    """The runner that serves this state folder now, None where none does."""
    try:
        document = json.loads((state_dir / _NOTE).read_text("utf-8"))
        found = psutil.Process(int(document["pid"]))
        same = abs(found.create_time() - float(document["started"])) < 1.0
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def drain(
    state_dir: Path, *, limit_s: float, pause: Callable[[float], None], now_s: Callable[[], float]
) -> bool:
    """Ask the runner to claim nothing more and to end; whether it ended within `limit_s`.

    Args:
        state_dir: the runner's state.
        limit_s: how long to wait, in seconds.
        pause: waits for seconds.
        now_s: a monotonic clock.

    Raises:
        UsageError: no runner serves here.
    """
    process = find_process(state_dir)
    if process is None:
        raise UsageError(
            "no runner serves here", where=str(state_dir), remedy="kakeya_remote runner status"
        )
    os.kill(process.pid, signal.SIGTERM)
    end_s = now_s() + limit_s
    while (left := find_process(state_dir)) and left.pid == process.pid and now_s() < end_s:
        pause(0.1)
    return left is None or left.pid != process.pid
