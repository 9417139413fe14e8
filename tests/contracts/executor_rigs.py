"""What the executor contract suite runs on: one rig for each executor, with its real system."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executors import make_executor
from executors.contract import (
    OUT,
    Ending,
    Executor,
    Handle,
    Job,
    Launch,
    Limits,
    bootstrap_tokens,
)
from executors.supervise import processes
from executors.supervise.files import read_json
from executors.supervise.launch import MARK, STARTED
from tests.parts import require
from tests.servers import openssh, pueued
from tests.servers import slurm as slurm_server
from tests.waiting import until

WEIRD = "jöb 'one' \"two\"\nthree $HOME `id` \\ ;&|*"


@dataclass
class Rig:
    """One executor on its real system, and folders for its jobs."""

    name: str
    root: Path
    options: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    wait_s: float = 60.0
    launched: list[Launch] = field(default_factory=list)

    def executor(self) -> Executor:
        """A fresh executor object, as a restarted runner has it."""
        return make_executor(self.name, self.options)

    def job(
        self, program: str, *arguments: str, python: str | None = None, **fields: object
    ) -> Job:
        """A job whose code is one module."""
        folder = self.root / secrets.token_hex(4) / "1"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "program.py").write_text(program)
        interpreter = bootstrap_tokens(python or self.python, folder)
        return Job(
            id="01JZ0000000000000000000000",
            attempt=1,
            folder=folder,
            argv=(*interpreter, "-m", "program", *arguments),
            env={"PATH": "/usr/bin:/bin", "OUT": str(folder / "out")},
            **({"limits": Limits(wall_s=120, grace_s=2)} | fields),  # type: ignore[arg-type]
        )

    def launch(self, program: str, *arguments: str, **fields: object) -> Launch:
        """The rendered launch of such a job."""
        launch = self.executor().render(self.job(program, *arguments, **fields))  # type: ignore[arg-type]
        self.launched.append(launch)
        return launch

    def submit(self, program: str, *arguments: str, **fields: object) -> tuple[Launch, Handle]:
        """Launch such a job."""
        launch = self.launch(program, *arguments, **fields)
        return launch, self.executor().submit(launch)

    def run(self, program: str, *arguments: str, **fields: object) -> tuple[Launch, Handle, Ending]:
        """Launch such a job and wait for its end."""
        launch, handle = self.submit(program, *arguments, **fields)
        return launch, handle, self.ending(handle)

    def ending(self, handle: Handle) -> Ending:
        """The end of a job, waited for."""
        executor = self.executor()
        polled = until(
            lambda: found if (found := executor.poll(handle)).state == "ended" else None,
            bound_s=self.wait_s,
            what="the end of the job",
        )
        assert polled.ending is not None
        return polled.ending

    def log(self, handle: Handle) -> bytes:
        """All of a job's output."""
        return self.executor().logs(handle, 0, 2**24)

    def check_nothing_left(self) -> None:
        """No process of any job is alive."""
        for launch in self.launched:
            started = read_json(launch.job_dir / STARTED)
            if started is not None:
                mark = f"{MARK}={started['mark']}"
                until(
                    lambda mark=mark: not processes.marked(processes.table(), mark),
                    bound_s=10,
                    what=f"the last process of {launch.job_dir}",
                )

    def kill_all(self) -> None:
        """End supervisors that a failed test left."""
        for launch in self.launched:
            started = read_json(launch.job_dir / STARTED)
            if started is not None and processes.identity(started["pid"]) == started["started"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started["pid"], signal.SIGTERM)


def pids_in(path: Path, count: int) -> list[int]:
    """The process numbers that a job wrote, once there are so many."""

    def read() -> list[int] | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = [int(line) for line in path.read_text().split()]
            if len(found) == count:
                return found
        return None

    return until(read, what=f"{count} process numbers in {path.name}")


def gone(pid: int) -> bool:
    """Whether no living process has the number."""
    return processes.identity(pid) is None


@contextlib.contextmanager
def job_root() -> Iterator[Path]:
    """A folder for jobs that every user can enter, under a name that breaks careless quoting."""
    base = Path(tempfile.mkdtemp(prefix="kakeya-"))
    base.chmod(0o755)
    root = base / WEIRD
    root.mkdir()
    try:
        yield root
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def local() -> Iterator[Rig]:
    """This machine."""
    with job_root() as root:
        yield Rig("local", root)


@contextlib.contextmanager
def actions() -> Iterator[Rig]:
    """This machine, and a step's log, summary and outputs in files.

    `test_executor_actions.py` runs rows in a real step, and there it is that step that is told.
    """
    with job_root() as root:
        names = {name: str(root / f"step-{name}") for name in ("log", "summary", "output")}
        yield Rig("actions", root, {} if os.environ.get("TEST_IN_STEP") else names)


@contextlib.contextmanager
def pueue() -> Iterator[Rig]:
    """A pueue daemon of its own."""
    with job_root() as root, pueued.configured() as config, pueued.running(config):
        yield Rig("pueue", root, {"config": str(config), "parallel": "8"})


@contextlib.contextmanager
def slurm() -> Iterator[Rig]:
    """A Slurm cluster of one node."""
    with job_root() as root, slurm_server.running() as cluster:
        yield Rig("slurm", root, {"conf": str(cluster.conf)})


@contextlib.contextmanager
def ssh() -> Iterator[Rig]:
    """An ssh server on loopback; what it is given lies in a folder of its own."""
    with job_root() as root, openssh.running() as server:
        yield Rig("ssh", root, server.options(root / "fär 'side'") | {"keep": "yes"})


RIGS: Mapping[str, tuple[Callable[[], contextlib.AbstractContextManager[Rig]], tuple[str, ...]]] = {
    "actions": (actions, ()),
    "local": (local, ()),
    "pueue": (pueue, ("pueue", "pueued")),
    "slurm": (slurm, ("slurmctld", "slurmd", "sbatch", "munged", "root")),
    "ssh": (ssh, ("sshd", "ssh-keygen", "paramiko")),
}
"""Each executor's rig, and the real parts (`tests.parts`) that it is made of."""


@contextlib.contextmanager
def open_rig(name: str) -> Iterator[Rig]:
    """The rig of an executor; skips or fails where a real part of it is missing."""
    make, parts = RIGS[name]
    for part in parts:
        require(part)
    with make() as rig:
        yield rig


def read_out(launch: Launch, name: str = "seen.json") -> object:
    """What a job wrote into its output folder as JSON."""
    return json.loads((launch.home / OUT / name).read_text())
