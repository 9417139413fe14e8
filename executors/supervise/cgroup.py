"""A control group of the job's own, where this process may make one: memory bound by the kernel.

Without one the supervisor's polling holds the same limit, a fraction of a second later.
Source: Linux admin-guide/cgroup-v2 and cgroup-v1/memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
_LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
_EVENTS = {1: "memory.oom_control", 2: "memory.events"}


@dataclass(frozen=True, slots=True)
class Group:
    """A control group with a memory bound; `version` is the kernel interface's, 1 or 2."""

    path: Path
    parent: Path
    version: int

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Hold this process in the group, so that what it starts is born there."""
        (self.path / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (self.parent / "cgroup.procs").write_text("0")

    def members(self) -> set[int]:
        """Numbers of the processes in the group."""
        try:
            return {int(line) for line in (self.path / "cgroup.procs").read_text().split()}
        except OSError:
            return set()

    def kills(self) -> int:
        """How many processes the kernel ended here for want of memory."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            text = (self.path / _EVENTS[self.version]).read_text()
            return int(text.partition("oom_kill ")[2].split()[0])
        return 0

    def remove(self, bound_s: float = 2.0) -> None:
        """Remove the emptied group; the kernel may need a moment after the last exit."""
        deadline = time.monotonic() + bound_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            if not self.path.exists():
                return
            time.sleep(0.01)


def create(name: str, memory_mb: float, mount: Path = MOUNT) -> Group | None:
    """A group below this process's own with a memory bound, None where that may not be."""
    for version, parent in _parents(mount):
        group = Group(parent / name, parent, version)
        try:
            group.path.mkdir()
        except OSError:
            continue
        try:
            (group.path / _LIMIT[version]).write_text(str(int(memory_mb * 2**20)))
            with group.entered():  # may this process move there and back?
                pass
        except OSError:
            group.remove()
            continue
        for file, value in (("memory.oom.group", "1"), ("memory.swap.max", "0")):
            with contextlib.suppress(OSError):  # version 1 and old kernels have neither
                (group.path / file).write_text(value)
        return group
    return None


def sweep(path: Path, bound_s: float = 5.0) -> None:
    """Kill whatever still lives in a group whose supervisor is gone, and remove it."""
    group = Group(path, path.parent, 2)
    deadline = time.monotonic() + bound_s
    while (left := group.members()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    group.remove()


def _parents(mount: Path) -> Iterator[tuple[int, Path]]:
    """Where this process stands: the version 2 hierarchy first, then version 1's memory."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in sorted(lines):  # "0::/path" sorts first: version 2
        number, controllers, path = line.split(":", 2)
        if number == "0" and (mount / "cgroup.controllers").exists():
            yield 2, mount / path.lstrip("/")
        elif "memory" in controllers.split(","):
            yield 1, mount / "memory" / path.lstrip("/")
