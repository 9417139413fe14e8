"""The processes of this machine as rows: who descends from whom, what they hold, who they are.

Two sources: Linux's `/proc`, and `ps` on any other Unix. A process is named by its number *and*
its start, since numbers are used again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `started` is comparable for equality alone; `resident` is in bytes."""

    pid: int
    parent: int
    started: str
    resident: int
    zombie: bool


def table() -> dict[int, Process]:
    """Every process that can be seen, by number."""
    return _table_of_proc() if has_proc() else _table_of_ps()


def has_proc() -> bool:
    """Whether this system shows its processes under `/proc` as Linux does."""
    return (PROC / "self" / "stat").exists()


def identity(pid: int) -> str | None:
    """The start of a living process, or None where there is none (a zombie is none)."""
    row = _read_stat(pid) if has_proc() else _table_of_ps(pid).get(pid)
    return None if row is None or row.zombie else row.started


def descendants(rows: dict[int, Process], root: int) -> list[Process]:
    """The living processes below `root`, without it, parents before children."""
    children: dict[int, list[Process]] = {}
    for row in rows.values():
        children.setdefault(row.parent, []).append(row)
    found: list[Process] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += [row.pid for row in below]
    return [row for row in found if not row.zombie]


def marked(rows: dict[int, Process], mark: str) -> list[Process]:
    """The processes whose environment holds `mark` (`NAME=value`), where it may be read."""
    found = (
        _marked_in_proc(rows, mark.encode()) if has_proc() else _marked_by_ps(rows, mark.encode())
    )
    return [row for row in found if row.pid != os.getpid() and not row.zombie]


def proportional_bytes(rows: Iterable[Process]) -> int:
    """Resident memory with each shared page counted once, where the system tells; else as is."""
    total = 0
    for row in rows:
        held = row.resident
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = (PROC / str(row.pid) / "smaps_rollup").read_text()
            held = 1024 * int(text.partition("\nPss:")[2].split()[0])
        total += held
    return total


def send(rows: Iterable[Process], number: signal.Signals) -> int:
    """Signal each process that is still the one that was seen; how many were."""
    sent = 0
    for row in rows:
        if identity(row.pid) == row.started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(row.pid, number)
                sent += 1
    return sent


@functools.cache
def _boot() -> str:
    """What tells one boot of this machine from another: ticks start anew at each."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _table_of_proc() -> dict[int, Process]:
    rows = (_read_stat(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return {row.pid: row for row in rows if row is not None}


def _read_stat(pid: int) -> Process | None:
    # proc(5): the command in field 2 may hold spaces and parentheses, so count from the last one.
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        started=f"{_boot()}:{fields[19].decode()}",
        resident=int(fields[21]) * _PAGE_BYTES,
        zombie=fields[0] in (b"Z", b"X"),
    )


def _marked_in_proc(rows: dict[int, Process], mark: bytes) -> list[Process]:
    found = []
    for row in rows.values():
        with contextlib.suppress(OSError):
            if mark in (PROC / str(row.pid) / "environ").read_bytes().split(b"\0"):
                found.append(row)
    return found


def _table_of_ps(pid: int | None = None) -> dict[int, Process]:
    which = ["-ax"] if pid is None else ["-p", str(pid)]
    rows = {}
    for line in _ps(*which, columns=("pid", "ppid", "rss", "stat", "lstart")):
        number, parent, resident, state, *started = line.decode("ascii", "replace").split()
        rows[int(number)] = Process(
            pid=int(number),
            parent=int(parent),
            started=" ".join(started),
            resident=int(resident) * 1024,
            zombie=state.startswith("Z"),
        )
    return rows


def _marked_by_ps(rows: dict[int, Process], mark: bytes) -> list[Process]:
    found = []
    for line in _ps("-axEww" if sys.platform == "darwin" else "axeww", columns=("pid", "command")):
        number, _, command = line.strip().partition(b" ")
        if mark in command.split() and number.isdigit() and int(number) in rows:
            found.append(rows[int(number)])
    return found


def _ps(*arguments: str, columns: Sequence[str]) -> list[bytes]:
    """The lines of `ps`, without the one about itself: it is a child of whoever asks."""
    # POSIX: all after `=` is the heading, so each column needs an option of its own.
    wanted = [word for name in columns for word in ("-o", f"{name}=")]
    with subprocess.Popen(
        ["ps", *arguments, *wanted],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    ) as process:
        text, _ = process.communicate()
    own = b"%d" % process.pid
    return [line for line in text.splitlines() if line.split(None, 1)[:1] != [own]]
