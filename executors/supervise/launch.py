"""What is to be started, and how it ended: the two records that cross to the far side as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

LAUNCH = "launch.json"
STARTED = "supervisor.json"
CANCEL = "cancel"
ENDED = "exit.json"
GROUP = "cgroup"
ERRORS = "supervisor.log"
MARK = "KAKEYA_JOB_MARK"

_LAUNCH_SCHEMA = "kakeya.launch/1"
_ENDING_SCHEMA = "kakeya.exit/1"
_PATHS = ("cwd", "home", "job_dir", "out", "report", "log")
_LISTS = ("argv", "command", "inherit")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use before it is ended; every one is enforced, or said not to be.

    Attributes:
        wall_s: seconds from start to end, by a monotonic clock.
        memory_mb: MiB of resident memory, the job's whole process tree together.
        output_mb: MiB written to standard output and error together.
        disk_mb: MiB under the output folder.
        grace_s: seconds between SIGTERM and SIGKILL.
    """

    wall_s: float = 600.0
    memory_mb: float = 4096.0
    output_mb: float = 16.0
    disk_mb: float = 1024.0
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch as a value: all that will be run, before anything is.

    Attributes:
        executor: name in the `EXECUTORS` table.
        argv: the job's own command line.
        cwd: folder that it starts in.
        env: its environment; nothing else is inherited but the names in `inherit`.
        home: folder of this attempt on the runner's machine.
        job_dir: folder of this attempt where it runs, the same unless that is another machine.
        out: folder that the job writes, the only one that is collected.
        report: folder for what `bootstrap.py` saw (imported.json, environment.json).
        log: file that takes the job's output, bytes as they come.
        run_as: OS user that runs the job, None for the supervisor's own.
        command: what is run to get the supervisor going.
        files: further files that the executor's system needs, by name inside `job_dir`.
        writable: further folders that the job may write, such as its checkpoints.
        inherit: variables that the system sets for the job (the GPUs it was given) and that win.
    """

    executor: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    home: Path
    job_dir: Path
    out: Path
    report: Path
    log: Path
    limits: Limits = Limits()
    run_as: str | None = None
    command: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    writable: tuple[Path, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The launch as JSON data; the inverse of `launch_from_json`."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        plain |= {name: str(plain[name]) for name in _PATHS}
        plain |= {"env": dict(self.env), "files": dict(self.files)}
        plain |= {name: list(plain[name]) for name in _LISTS}
        plain["writable"] = [str(path) for path in self.writable]
        plain["limits"] = dataclasses.asdict(self.limits)
        return {"schema": _LAUNCH_SCHEMA, **plain}


def launch_from_json(data: Mapping[str, Any]) -> Launch:
    """A launch from its JSON data.

    Raises:
        ValueError: another schema, or a field is missing, unknown or of a wrong shape.
    """
    values = {name: value for name, value in data.items() if name != "schema"}
    if data.get("schema") != _LAUNCH_SCHEMA:
        raise ValueError(f"expected {_LAUNCH_SCHEMA}, found {data.get('schema')!r}")
    try:
        values |= {name: Path(values[name]) for name in _PATHS}
        values |= {name: tuple(values[name]) for name in _LISTS}
        values |= {name: MappingProxyType(dict(values[name])) for name in ("env", "files")}
        values["writable"] = tuple(Path(path) for path in values["writable"])
        values["limits"] = Limits(**values["limits"])
        return Launch(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a launch: {error}") from error


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended, as `exit.json` holds it.

    Attributes:
        code: exit code, None where a signal ended it or it never started.
        signal: number of the signal that ended it.
        reason: exit, signal, timeout, memory, output, disk, cancelled, vanished, launch.
        detail: one line for a person.
        limit: field of `Limits` that was exceeded.
        means: limit -> how it is enforced on this system, or why it cannot be.
        isolation: what holds the job apart from its runner.
        started_s: monotonic seconds of the far side at the start; only differences mean anything.
        ended_s: the same clock when nothing of the job was left.
        peak_memory_mb: highest resident memory seen of the whole tree.
        output_bytes: what the job wrote to its standard streams, kept or not.
        disk_bytes: what lay under the output folder at the end.
        leftovers: processes that outlived the job's main one and were ended.
    """

    code: int | None
    signal: int | None
    reason: str
    detail: str = ""
    limit: str | None = None
    means: Mapping[str, str] = field(default_factory=dict)
    isolation: str = ""
    started_s: float = 0.0
    ended_s: float = 0.0
    peak_memory_mb: float = 0.0
    output_bytes: int = 0
    disk_bytes: int = 0
    leftovers: int = 0

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return self.ended_s - self.started_s

    def as_json(self) -> dict[str, Any]:
        """The ending as JSON data; the inverse of `ending_from_json`."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        plain["means"] = dict(self.means)
        return {"schema": _ENDING_SCHEMA, **plain, "duration_s": self.duration_s}


def ending_from_json(data: Mapping[str, Any]) -> Ending:
    """An ending from its JSON data.

    Raises:
        ValueError: another schema, or a field is missing or unknown.
    """
    if data.get("schema") != _ENDING_SCHEMA:
        raise ValueError(f"expected {_ENDING_SCHEMA}, found {data.get('schema')!r}")
    names = {item.name for item in dataclasses.fields(Ending)}
    try:
        values = {name: value for name, value in data.items() if name in names}
        return Ending(**values | {"means": MappingProxyType(dict(values["means"]))})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an ending: {error}") from error
