"""Holds one job to its limits and ends it whole: a loop over its output, its tree and the clock."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from dataclasses import replace

from . import processes
from .bounds import MIB, Breach, Paced, describe_isolation, describe_means
from .cgroup import Group
from .child import Child, LaunchFault, adopt_orphans, start
from .files import folder_bytes
from .launch import CANCEL, MARK, Ending, Launch
from .log import Log
from .processes import Process

TICK_S = 0.2
DISK_TICK_S = 0.5
KILL_TICK_S = 0.02
UNKILLABLE_S = 30.0


class Supervisor:
    """One job from start to end. `run` is called once, in a process that does nothing else."""

    def __init__(self, launch: Launch, mark: str, group: Group | None) -> None:
        self._launch = launch
        self._mark = mark
        self._group = group
        self._adopting = adopt_orphans()
        self._seen: dict[int, Process] = {}
        self._status: int | None = None
        self._breach: Breach | None = None
        self._signal: int | None = None
        self._kill_s: float | None = None
        self._leftovers = 0
        self._peak_bytes = 0
        self._scan = Paced(self._alive, TICK_S)
        self._disk = Paced(lambda: folder_bytes(launch.out), DISK_TICK_S)
        self._disk_bytes = 0

    def run(self) -> Ending:
        """Start the job, hold it, end it; returns when nothing of it is left."""
        self._started_s = time.monotonic()
        wake = self._catch_signals()
        if (self._launch.job_dir / CANCEL).exists():
            return self._ending(Ending(None, None, "cancelled", "cancelled before it started"), 0)
        try:
            child = start(self._launch, self._mark, self._group)
        except LaunchFault as error:
            return self._ending(Ending(None, None, "launch", str(error)), 0)
        self._child = child
        self._log = Log(child.output, self._launch.log, int(self._launch.limits.output_mb * MIB))
        try:
            self._hold(child, wake)
        finally:
            self._kill_all()
        while self._log.take():
            pass
        self._measure_disk(force=True)
        if self._breach is None:
            self._breach = self._flood() or self._overfull()
        ending = self._judge()
        if self._breach is not None:
            self._log.note(f"{self._breach.detail}; the job was ended")
        self._log.close()
        return self._ending(ending, self._log.seen)

    def _catch_signals(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember_signal)
        signal.signal(signal.SIGHUP, lambda *_: None)  # SIG_IGN would be inherited by the job
        return reader

    def _remember_signal(self, number: int, _: object) -> None:
        self._signal = number

    def _hold(self, child: Child, wake: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(wake, selectors.EVENT_READ)
            selector.register(child.output, selectors.EVENT_READ)
            while True:
                self._pump(selector, wake)
                self._reap()
                now = time.monotonic()
                ended = self._status is not None
                alive = self._scan.value(now, force=ended or self._kill_s is not None)
                if alive is not None and ended and not alive:
                    return
                if self._kill_s is None:
                    self._decide(alive, now)
                elif alive and now >= self._kill_s:
                    if now > self._kill_s + UNKILLABLE_S:
                        return
                    processes.send(alive, signal.SIGKILL)

    def _pump(self, selector: selectors.BaseSelector, wake: int) -> None:
        for key, _ in selector.select(self._pause(time.monotonic())):
            if key.fd == wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            else:
                self._log.take()
                if not self._log.open:
                    selector.unregister(key.fd)

    def _pause(self, now: float) -> float:
        """Seconds until something must be looked at again."""
        if self._kill_s is not None:
            return KILL_TICK_S if now >= self._kill_s else min(TICK_S, self._kill_s - now)
        ends_s = self._started_s + self._launch.limits.wall_s
        return max(0.0, min(self._scan.due_s, ends_s) - now)

    def _reap(self) -> None:
        """Take the status of every dead child: the job's own, and adopted orphans'."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._child.process.pid:
                    self._status = status
                    self._child.process.returncode = os.waitstatus_to_exitcode(status)
                    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) differs
                    self._peak_bytes = max(self._peak_bytes, usage.ru_maxrss * unit)

    def _alive(self) -> list[Process]:
        """Every living process of the job, the supervisor's own excepted."""
        rows = processes.table()
        found = {row.pid: row for row in processes.descendants(rows, os.getpid())}
        if self._group is not None:
            found |= {pid: rows[pid] for pid in self._group.members() if pid in rows}
        if not self._adopting:
            for row in self._seen.values():
                now = rows.get(row.pid)
                if now is not None and now.started == row.started:
                    below = processes.descendants(rows, row.pid)
                    found |= {one.pid: one for one in [now, *below]}
            if self._status is not None:
                marked = processes.marked(rows, f"{MARK}={self._mark}")
                found |= {one.pid: one for one in marked}
            self._seen = dict(found)
        return [row for row in found.values() if not row.zombie]

    def _decide(self, alive: list[Process] | None, now: float) -> None:
        """End the job where a limit is exceeded, somebody asked, or only leftovers are alive."""
        if self._status is not None:
            self._leftovers = len(alive or ())
            self._ask_to_end(alive or [], now)
            return
        self._measure_disk()
        self._breach = (
            self._wish()
            or self._flood()
            or self._overtime(now)
            or self._overweight(alive)
            or self._overfull()
        )
        if self._breach is not None:
            self._ask_to_end(self._alive(), now)

    def _ask_to_end(self, alive: list[Process], now: float) -> None:
        self._kill_s = now + self._launch.limits.grace_s
        processes.send(alive, signal.SIGTERM)
        processes.send(alive, signal.SIGCONT)  # a stopped process hears nothing

    def _wish(self) -> Breach | None:
        if self._signal is not None:
            name = signal.Signals(self._signal).name
            return Breach("cancelled", "", f"the supervisor was sent {name}")
        if (self._launch.job_dir / CANCEL).exists():
            return Breach("cancelled", "", "cancelled")
        return None

    def _flood(self) -> Breach | None:
        if not self._log.flooded:
            return None
        limit = self._launch.limits.output_mb
        return Breach("output", "output_mb", f"wrote more than {limit:g} MiB of output")

    def _overtime(self, now: float) -> Breach | None:
        limit = self._launch.limits.wall_s
        if now - self._started_s < limit:
            return None
        return Breach("timeout", "wall_s", f"ran longer than {limit:g} s")

    def _overweight(self, alive: list[Process] | None) -> Breach | None:
        limit = self._launch.limits.memory_mb
        detail = f"held more than {limit:g} MiB of memory"
        if self._group is not None and self._group.kills():
            return Breach("memory", "memory_mb", detail)
        if alive is None:
            return None
        held = sum(row.resident for row in alive)
        if held > limit * MIB:  # shared pages were counted once for each process: look closer
            held = processes.proportional_bytes(alive)
        self._peak_bytes = max(self._peak_bytes, held)
        return Breach("memory", "memory_mb", detail) if held > limit * MIB else None

    def _measure_disk(self, *, force: bool = False) -> None:
        size = self._disk.value(time.monotonic(), force=force)
        self._disk_bytes = self._disk_bytes if size is None else size

    def _overfull(self) -> Breach | None:
        limit = self._launch.limits.disk_mb
        if self._disk_bytes <= limit * MIB:
            return None
        return Breach("disk", "disk_mb", f"left more than {limit:g} MiB in its output folder")

    def _kill_all(self) -> None:
        """Whatever went wrong above, nothing of the job outlives this."""
        deadline = time.monotonic() + UNKILLABLE_S
        while (alive := self._alive()) and time.monotonic() < deadline:
            processes.send(alive, signal.SIGKILL)
            self._reap()
            time.sleep(KILL_TICK_S)
        self._reap()

    def _judge(self) -> Ending:
        if self._status is None:
            return Ending(None, None, "vanished", "a process of the job could not be ended")
        exited = os.WIFEXITED(self._status)
        code = os.WEXITSTATUS(self._status) if exited else None
        number = None if exited else os.WTERMSIG(self._status)
        if number == signal.SIGKILL and self._group is not None and self._group.kills():
            self._breach = self._breach or self._overweight(None)
        if self._breach is not None:
            limit = self._breach.limit or None
            return Ending(code, number, self._breach.reason, self._breach.detail, limit=limit)
        if number is not None:
            return Ending(None, number, "signal", f"ended by {_name_of(number)}")
        return Ending(code, None, "exit")

    def _ending(self, bare: Ending, output_bytes: int) -> Ending:
        return replace(
            bare,
            means=describe_means(adopting=self._adopting, group=self._group),
            isolation=describe_isolation(self._launch, self._group),
            started_s=self._started_s,
            ended_s=time.monotonic(),
            peak_memory_mb=round(self._peak_bytes / MIB, 3),
            output_bytes=output_bytes,
            disk_bytes=self._disk_bytes,
            leftovers=self._leftovers,
        )


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
