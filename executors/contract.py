"""What an executor is: a pure `render` from job to launch, and four actions on its handle.

One contract suite (`tests/contracts/test_executor_contract.py`) runs against every executor with
its real system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from bridge.errors import ExecutorError
from bridge.records import Exit, Resources
from executors.supervise.launch import Ending, Launch, Limits, launch_from_json

__all__ = [
    "Ending",
    "Executor",
    "Handle",
    "Job",
    "Launch",
    "Limits",
    "Poll",
    "bootstrap_tokens",
    "handle_from_json",
    "launch_from_json",
]

CODE = "code"
OUT = "out"
REPORT = "report"
LOG = "output.log"
BOOTSTRAP = "bootstrap.py"


@dataclass(frozen=True, slots=True)
class Handle:
    """How a launched job is found again, also by another process after a restart.

    Attributes:
        executor: name in the `EXECUTORS` table.
        job_dir: folder of the attempt on this machine.
        system: what the executor's system calls the job.
    """

    executor: str
    job_dir: Path
    system: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The handle as JSON data; the inverse of `handle_from_json`."""
        return {
            "schema": "kakeya.handle/1",
            "executor": self.executor,
            "job_dir": str(self.job_dir),
            "system": dict(sorted(self.system.items())),
        }


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt that a runner wants launched.

    Attributes:
        id: the request's id.
        attempt: number of the try, from 1.
        folder: absolute folder of this attempt: `code/` and `job.json` are there already.
        argv: the rendered command line.
        env: what the job's environment holds beyond nothing.
        run_as: OS user to run it as, None for the runner's own.
        writable: folders beside `out/` that the job may write, such as its checkpoints.
        labels: labels of the request, for systems that can show them.
        secrets: names in `env` whose values no log may show.
        after: jobs that must have ended first, for systems that can wait for them.
    """

    id: str
    attempt: int
    folder: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)
    run_as: str | None = None
    writable: tuple[Path, ...] = ()
    labels: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    after: tuple[Handle, ...] = ()


def handle_from_json(data: Mapping[str, Any]) -> Handle:
    """A handle from its JSON data.

    Raises:
        ExecutorError: it is no handle of this version.
    """
    try:
        if data["schema"] != "kakeya.handle/1":
            raise ValueError(f"schema {data['schema']!r}")
        system = {str(name): str(value) for name, value in data["system"].items()}
        return Handle(str(data["executor"]), Path(data["job_dir"]), MappingProxyType(system))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExecutorError(
            f"not a job handle: {error}",
            remedy="the job's folder was written by another version; cancel it and retry the job",
        ) from error


@dataclass(frozen=True, slots=True)
class Poll:
    """What became of a job: `state` is waiting, running or ended; `ending` is there when ended."""

    state: str
    ending: Ending | None = None

    @property
    def exit(self) -> Exit | None:
        """The end as the result record tells it."""
        if self.ending is None:
            return None
        end = self.ending
        return Exit(code=end.code, signal=end.signal, reason=end.reason, detail=end.detail)


class Executor(Protocol):
    """A way to launch a claimed job."""

    @property
    def name(self) -> str:
        """Its name in the `EXECUTORS` table."""
        ...

    def render(self, job: Job) -> Launch:
        """All that would be run, as a value. Pure: no I/O, no clock, no randomness."""
        ...

    def submit(self, launch: Launch) -> Handle:
        """Start the launch, once: a second call finds the first one's job and returns it.

        Raises:
            ExecutorError: its system refused or could not be reached; nothing was started.
            MissingPartError: a program that it needs is not installed.
        """
        ...

    def poll(self, handle: Handle) -> Poll:
        """What became of the job; once it says `ended`, `out/` and the log are whole and here.

        Raises:
            ExecutorError: its system cannot be asked now. That says nothing about the job.
        """
        ...

    def cancel(self, handle: Handle) -> None:
        """Ask for the end of the job and all its processes; `poll` tells when it came."""
        ...

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        """At most `limit` bytes of the job's output from `offset` on, as they were written."""
        ...


def bootstrap_tokens(python: str, folder: Path) -> tuple[str, ...]:
    """What `{python}` of a preset's argv stands for: the trusted start of the job's interpreter.

    The file is put into the job's folder by `submit`, so that `run_as` can read it.
    """
    return (python, "-I", str(folder / BOOTSTRAP), str(folder / CODE), str(folder / REPORT))
