"""Jobs in the queue of a pueue daemon on this machine, through its own client.

pueue runs a task's text by a shell; that text is the fixed start of our supervisor and the job's
folder, quoted. The job's own command line never passes through it.

Source: pueue 4 (https://github.com/Nukesor/pueue/wiki).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge import proc
from bridge.errors import ExecutorError, MissingPartError
from executors import folder
from executors.contract import LOG, Handle, Job, Launch, Poll
from executors.supervise.files import create_once
from executors.supervise.launch import CANCEL, STARTED

MAJOR = 4
CALL_S = 30.0
# Where the client looks for its configuration and the daemon's socket.
_PLACES = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the daemon: `state` is pueue's own word (Queued, Running, Done, ...)."""

    id: str
    label: str
    state: str
    result: str


class PueueExecutor:
    """Queues `executors/supervise` in a group of a pueue daemon.

    Args:
        group: pueue group that takes the jobs; it is made where it is not there.
        parallel: how many jobs of a group that is made here may run at once.
        config: pueue's configuration file, its own default where empty.
        pueue: the client program.
        python: interpreter that runs the supervisor.
    """

    name = "pueue"

    def __init__(
        self,
        group: str = "kakeya",
        parallel: str = "1",
        config: str = "",
        pueue: str = "pueue",
        python: str = sys.executable,
    ) -> None:
        self._group = group
        self._parallel = parallel
        self._client = (pueue, *(("--config", config) if config else ()))
        self._python = python

    def render(self, job: Job) -> Launch:
        """The launch of a job; see `Executor.render`."""
        task = (self._python, "-I", str(folder.SUPERVISE), "--foreground", str(job.folder))
        after = [word for one in job.after for word in ("--after", one.system["task"])]
        command = (
            *self._client,
            "add",
            "--print-task-id",
            *("--group", self._group),
            *("--label", folder.label_of(job)),
            *("--working-directory", "/"),
            *after,
            "--",
            shlex.join(task),
        )
        return folder.render_folder(job, self.name, command)

    def submit(self, launch: Launch) -> Handle:
        """Queue the launch; see `Executor.submit`."""
        return folder.submit_once(launch, lambda: {"task": self._find_or_add(launch)})

    def poll(self, handle: Handle) -> Poll:
        """What became of the job; see `Executor.poll`."""
        polled = folder.poll_started(handle.job_dir)
        if polled is not None:
            return polled
        task = self._tasks().get(handle.system["task"])
        if task is not None and task.state == "Running":
            return Poll("running")
        if task is not None and task.state != "Done":
            return Poll("waiting")
        # It may have started since we looked.
        return folder.poll_started(handle.job_dir) or _without_start(handle, task)

    def cancel(self, handle: Handle) -> None:
        """Leave the wish where the supervisor sees it, and take a waiting task out of the queue."""
        create_once(handle.job_dir / CANCEL, b"")
        if not (handle.job_dir / STARTED).exists():
            # Refused where it runs by now: then the supervisor has seen the wish.
            self._call("remove", handle.system["task"], may_fail=True)

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        """A piece of the log; see `Executor.logs`."""
        return folder.read_log(handle.job_dir / LOG, offset, limit)

    def _find_or_add(self, launch: Launch) -> str:
        self._check_version()
        label = launch.command[launch.command.index("--label") + 1]
        for task in self._tasks().values():
            if task.label == label:
                return task.id
        if self._group not in self._json("group", "--json"):
            made = ("group", "add", "--parallel", self._parallel, "--", self._group)
            self._call(*made, may_fail=True)  # another submit may have been first
        return self._call(*launch.command[len(self._client) :]).decode().strip()

    def _tasks(self) -> dict[str, Task]:
        found = self._json("status", "--json")
        return {one.id: one for one in map(_read_task, found.get("tasks", {}).values())}

    def _json(self, *arguments: str) -> dict[str, Any]:
        answer = self._call(*arguments)
        try:
            value = json.loads(answer)
        except ValueError as error:
            raise ExecutorError(
                f"pueue answered what is no JSON: {answer[:200]!r}", remedy=_versions_remedy()
            ) from error
        if not isinstance(value, dict):
            raise ExecutorError("pueue answered another shape of JSON", remedy=_versions_remedy())
        return value

    def _call(self, *arguments: str, may_fail: bool = False) -> bytes:
        try:
            done = proc.run(
                (*self._client, *arguments), cwd=folder.HERE, env=_client_env(), timeout_s=CALL_S
            )
        except MissingPartError as error:
            raise MissingPartError(
                "pueue is not installed",
                remedy="cargo install pueue --locked, or your system's package; then pueued -d",
            ) from error
        if done.code != 0 and not may_fail:
            raise _explain(done.stderr.decode(errors="replace"))
        return done.stdout

    def _check_version(self) -> None:
        version = self._call("--version").decode(errors="replace").strip()
        found = re.search(r"(\d+)\.\d+", version)
        if found is None or int(found[1]) != MAJOR:
            word = "old" if found is not None and int(found[1]) < MAJOR else "new"
            raise ExecutorError(
                f"{version} is too {word}; this program speaks with pueue {MAJOR}",
                remedy=_versions_remedy(),
            )


def _explain(stderr: str) -> ExecutorError:
    lines = [line.strip() for line in _plain(stderr).splitlines() if line.strip()]
    text = " ".join(lines[1:3] if lines[:1] == ["Error:"] else lines[:2])
    if re.search(r"secret|[Cc]onnect|socket|initialize stream", text):
        return ExecutorError(
            f"the pueue daemon cannot be reached: {text}", remedy="start it: pueued -d"
        )
    if "unexpected but valid message" in text:
        return ExecutorError(
            "the pueue daemon speaks another version than the client", remedy=_versions_remedy()
        )
    return ExecutorError(f"pueue refused: {text}", remedy=_versions_remedy())


def _without_start(handle: Handle, task: Task | None) -> Poll:
    if (handle.job_dir / CANCEL).exists():
        return folder.finish(
            handle.job_dir, "cancelled", "taken out of the queue before it started"
        )
    if task is None:
        return folder.finish(handle.job_dir, "vanished", "pueue knows the task no more")
    return folder.finish(handle.job_dir, "launch", f"pueue could not start it: {task.result}")


def _read_task(data: Mapping[str, Any]) -> Task:
    try:
        status = data["status"]
        state = status if isinstance(status, str) else next(iter(status))
        result = status[state].get("result", "") if isinstance(status, dict) else ""
        text = result if isinstance(result, str) else json.dumps(result)
        return Task(str(data["id"]), str(data.get("label") or ""), state, text)
    except (KeyError, TypeError, StopIteration, AttributeError) as error:
        raise ExecutorError(
            f"pueue describes a task in another shape: {error!r}", remedy=_versions_remedy()
        ) from error


def _client_env() -> dict[str, str]:
    places = {name: os.environ[name] for name in _PLACES if name in os.environ}
    return proc.base_env() | places


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _versions_remedy() -> str:
    return (
        f"install pueue {MAJOR} (cargo install pueue --locked) and restart its daemon: "
        "pueue shutdown; pueued -d"
    )
