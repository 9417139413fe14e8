"""Jobs on this machine as `executors/local` starts them, shown in the log of a GitHub Actions step.

GitHub Actions hosts the runner; it is no queue of ours. What this adds to the local launch: the
job's output in a group in which no workflow command is obeyed, secrets masked, an annotation for
how the job ended, a part of the step summary, and outputs for later steps.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from executors import commands
from executors.contract import LOG, Ending, Handle, Job, Launch, Poll
from executors.folder import read_log
from executors.local import LocalExecutor
from executors.supervise.launch import STARTED

WORKFLOW = "workflow.json"
MAX_SHOWN_BYTES = 2**20
"""Of a job's output so much is shown in the step's log; all of it goes to the bus."""
_PIECE_BYTES = 2**16
_SUMMARY, _OUTPUT = "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"
_GUARDED = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", _OUTPUT, _SUMMARY)


class Step:
    """The step of a workflow that this process runs in; its jobs share it.

    What it knows is in memory alone: a file beside a job could be changed by that job.

    Attributes:
        log: the step's log.
        files: the files by which a step speaks to its host, by the variable that names each.
        shown: bytes of output that the log has already, by folder of the job.
        told: folders of the jobs whose end was told.
    """

    def __init__(self, log: str, summary: str, output: str) -> None:
        self.log = commands.StepLog(Path(log) if log else None)
        given = {_SUMMARY: summary, _OUTPUT: output}
        named = {name: given.get(name) or os.environ.get(name, "") for name in _GUARDED}
        self.files = {name: path for name, path in named.items() if path}
        self.shown: dict[Path, int] = {}
        self.told: set[Path] = set()
        self.lock = threading.RLock()
        self._sizes = self._measure()

    def append(self, variable: str, text: str) -> None:
        """Write to one of the files, where the step has it."""
        if variable in self.files:
            with open(self.files[variable], "a", encoding="utf-8") as file:
                file.write(text)
            self._sizes = self._measure()

    def undo_writes(self) -> list[str]:
        """Cut off what others wrote to the files since we did; the variables of those files.

        A job runs as a user who may find them, and could set the environment of later steps.
        """
        now = self._measure()
        grown = [name for name, size in self._sizes.items() if now[name] > size]
        for name in grown:
            os.truncate(self.files[name], self._sizes[name])
        return grown

    def _measure(self) -> dict[str, int]:
        return {name: _length(path) for name, path in self.files.items()}


_STEPS: dict[tuple[str, str, str], Step] = {}
_STEPS_LOCK = threading.Lock()


class ActionsExecutor:
    """`executors/local`, told to a step of a workflow.

    Args:
        python: interpreter that runs the supervisor.
        log: file that takes the step's log; standard output where empty.
        summary, output: files of the step summary and of the outputs; the ones that the step's
            `GITHUB_STEP_SUMMARY` and `GITHUB_OUTPUT` name where empty.
    """

    name = "actions"

    def __init__(
        self, python: str = sys.executable, log: str = "", summary: str = "", output: str = ""
    ) -> None:
        self._local = LocalExecutor(python)
        key = (log, summary, output)
        with _STEPS_LOCK:
            if key not in _STEPS:
                _STEPS[key] = Step(*key)
            self._step = _STEPS[key]

    def render(self, job: Job) -> Launch:
        """The launch of a job; see `Executor.render`.

        Raises:
            UsageError: the job waits for others; this machine has no queue.
        """
        told = {"job": job.id, "attempt": job.attempt, "secrets": list(job.secrets)}
        files = {WORKFLOW: json.dumps(told, sort_keys=True)}
        return replace(self._local.render(job), executor=self.name, files=files)

    def submit(self, launch: Launch) -> Handle:
        """Mask the job's secrets and start it; see `Executor.submit`."""
        told = json.loads(launch.files[WORKFLOW])
        if not (launch.job_dir / STARTED).exists():
            values = {name: launch.env.get(name, "") for name in told["secrets"]}
            self._step.log.say(commands.masks(values))
        handle = self._local.submit(launch)
        system = {**handle.system, "job": told["job"], "attempt": str(told["attempt"])}
        return Handle(self.name, handle.job_dir, system)

    def poll(self, handle: Handle) -> Poll:
        """What became of the job, after its new output was shown; see `Executor.poll`."""
        poll = self._local.poll(handle)
        with self._step.lock:
            self._show(handle, whole=poll.ending is not None)
            if poll.ending is not None and handle.job_dir not in self._step.told:
                self._step.told.add(handle.job_dir)
                self._tell(handle, poll.ending)
        return poll

    def cancel(self, handle: Handle) -> None:
        """Leave the wish in the job's folder; see `Executor.cancel`."""
        self._local.cancel(handle)

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        """A piece of the log; see `Executor.logs`."""
        return self._local.logs(handle, offset, limit)

    def _show(self, handle: Handle, *, whole: bool) -> None:
        """Copy what is new of the output into the step's log, in whole lines until the end."""
        offset = self._step.shown.get(handle.job_dir, 0)
        while offset < MAX_SHOWN_BYTES:
            room = min(_PIECE_BYTES, MAX_SHOWN_BYTES - offset)
            piece = read_log(handle.job_dir / LOG, offset, room)
            if not whole and len(piece) < room:
                piece = piece[: piece.rfind(b"\n") + 1]
            if not piece:
                break
            self._step.log.write(_title(handle), piece)
            offset += len(piece)
        self._step.shown[handle.job_dir] = offset

    def _tell(self, handle: Handle, ending: Ending) -> None:
        good = ending.reason == "exit" and ending.code == 0
        title, text = _title(handle), _describe(ending)
        lines = [
            commands.command("warning", f"{title} wrote to {name}: undone", title="kakeya")
            for name in self._step.undo_writes()
        ]
        level = "notice" if good else "error"
        lines.append(commands.command(level, f"{title}: {text}", title="kakeya"))
        if ending.output_bytes > MAX_SHOWN_BYTES:
            rest = f"{ending.output_bytes - MAX_SHOWN_BYTES} bytes of output are not shown here"
            more = f"{rest}: kakeya_remote logs {handle.system['job']}"
            lines.append(commands.command("notice", more, title="kakeya"))
        self._step.log.say(*lines)
        self._step.append(_SUMMARY, _summary(title, text, ending, good=good))
        outputs = {
            "job": handle.system["job"],
            "reason": ending.reason,
            "code": "" if ending.code is None else str(ending.code),
        }
        said = "".join(commands.output(name, value) for name, value in outputs.items())
        self._step.append(_OUTPUT, said)


def _title(handle: Handle) -> str:
    return f"job {handle.system['job']}, attempt {handle.system['attempt']}"


def _describe(ending: Ending) -> str:
    how = f"exit code {ending.code}" if ending.signal is None else f"signal {ending.signal}"
    told = how if ending.reason in ("exit", "signal") else f"ended for {ending.reason}"
    return f"{told}: {ending.detail}" if ending.detail else told


def _summary(title: str, text: str, ending: Ending, *, good: bool) -> str:
    plain = "".join(char for char in text if char.isalnum() or char in " .,:;/()-_")
    return (
        f"### {title}: {'ended well' if good else 'failed'}\n\n"
        "| end | duration | peak memory | output |\n|---|---|---|---|\n"
        f"| {plain} | {ending.duration_s:.1f} s | {ending.peak_memory_mb:.0f} MiB "
        f"| {ending.output_bytes} bytes |\n\n"
    )


def _length(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
