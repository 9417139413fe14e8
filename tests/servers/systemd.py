"""A real systemd user manager with namespaces, a control group and a /run of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bridge import proc
from tests.waiting import until

MANAGER = "/lib/systemd/systemd"
_RUNTIME = "/run/user/0"
_SCRIPT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system {_RUNTIME}
chmod 700 {_RUNTIME}
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/$1
echo 0 > /sys/fs/cgroup/$1/cgroup.procs
{MANAGER} --user --log-target=console --log-level=info &
wait
"""
_SWEEP = """
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
[ ! -d /sys/fs/cgroup/$1 ] || find /sys/fs/cgroup/$1 -depth -type d -exec rmdir {} +
"""


@dataclass(frozen=True)
class Machine:
    """One manager and how to run a program beside it."""

    home: Path
    target: int
    log: Path

    def call(
        self, *argv: str, env: Mapping[str, str] | None = None, timeout_s: float = 240
    ) -> proc.Completed:
        """Run a program to its end where the manager runs."""
        enter = ("nsenter", f"--target={self.target}", "--mount", "--pid", "--wd=/", "--")
        return proc.run(
            [*enter, *argv],
            cwd=Path("/"),
            env={**_env(self.home), **(env or {})},
            timeout_s=timeout_s,
        )

    def show(self, unit: str) -> dict[str, str]:
        """What the manager says of a unit."""
        done = self.call("systemctl", "--user", "show", unit)
        lines = done.stdout.decode().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def _env(home: Path) -> dict[str, str]:
    return {**proc.base_env(), "HOME": str(home), "XDG_RUNTIME_DIR": _RUNTIME}


@contextlib.contextmanager
def running(home: Path) -> Iterator[Machine]:
    """A manager for the time of a `with` block; all that it started ends with it."""
    group, log = f"kakeya-test-{uuid.uuid4().hex}", home / "systemd.log"
    unshare = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
    argv: Sequence[str] = (*unshare, "bash", "-c", _SCRIPT, "bash", group)
    process = proc.spawn(argv, cwd=Path("/"), env=_env(home), stdout=log)
    try:
        inside = until(lambda: psutil.Process(process.pid).children(), what="the namespace")[0].pid
        machine = Machine(home, inside, log)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            return machine.call("systemctl", "--user", "is-active", "default.target").code == 0

        until(answers, bound_s=60, what="systemd --user")
        yield machine
    finally:
        proc.kill_group(process.pid)
        process.wait()
        until(lambda: _sweep(group), what="its control groups removed")


def _sweep(group: str) -> bool:
    argv = ["unshare", "--mount", "bash", "-c", _SWEEP, "bash", group]
    return proc.run(argv, cwd=Path("/"), env=proc.base_env(), timeout_s=30).code == 0


@functools.cache
def is_possible() -> bool:
    """Whether this machine lets a test have such a manager: root, and leave to mount."""
    if os.geteuid() != 0 or not Path(MANAGER).exists() or shutil.which("unshare") is None:
        return False
    probe = "mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup"
    argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", probe]
    return proc.run(argv, cwd=Path("/"), env=proc.base_env(), timeout_s=30).code == 0
