"""Jobs of a Slurm cluster: `sbatch` a rendered script, one `squeue` for all jobs, `scancel`.

The job's folder must lie on a file system that the node shares with this machine. Slurm is asked
for what a job's limits need and a margin, so that our supervisor ends a job, and names why,
before Slurm does. Jobs are never requeued by Slurm: a lost node gives the request back to the bus.

Source: sbatch(1), squeue(1), scancel(1) of Slurm 22.05.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bridge import proc
from bridge.errors import ExecutorError, MissingPartError
from executors import folder
from executors.contract import LOG, Ending, Handle, Job, Launch, Poll
from executors.supervise.files import create_once
from executors.supervise.launch import CANCEL, STARTED
from executors.supervise.status import bury, read_ending, read_started

SCRIPT = "job.sbatch"
CALL_S = 60.0
FRESH_S = 1.0
LAG_S = 5.0
"""How long a shared file system may take to show the end that a node wrote."""
MARGIN_S = 60.0
MARGIN_MB = 128

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"})
GOING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
TAKEN = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED"})
"""States that are the cluster's doing, not the job's: the request goes back to the queue."""

ENDED_FOR_GOOD = TAKEN | {"COMPLETED", "FAILED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"}
"""States of the accounts that nothing can follow, so that they are asked for once."""

# What Slurm tells a job about the devices and nodes that it was given.
INHERIT = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
    "SLURM_JOB_ID",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
)


@dataclass(frozen=True, slots=True)
class State:
    """A job's state in Slurm's word, and Slurm's reason."""

    word: str
    reason: str


class SlurmExecutor:
    """Hands `executors/supervise` to a Slurm cluster.

    Args:
        partition, account, qos: given to sbatch where not empty.
        conf: slurm.conf of the cluster, Slurm's own default where empty.
        python: interpreter that runs the supervisor, the same path on every node.
    """

    name = "slurm"

    def __init__(
        self,
        partition: str = "",
        account: str = "",
        qos: str = "",
        conf: str = "",
        python: str = sys.executable,
    ) -> None:
        self._conf = conf
        self._where = {"partition": partition, "account": account, "qos": qos}
        self._python = python
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._forgotten: dict[str, State] = {}
        self._asked_s = -math.inf
        self._ended_s: dict[str, float] = {}

    def render(self, job: Job) -> Launch:
        """The launch of a job; see `Executor.render`."""
        supervisor = (self._python, "-I", str(folder.SUPERVISE), "--foreground", str(job.folder))
        errors = shlex.quote(str(job.folder / "supervisor.log"))
        command = (
            *("sbatch", "--parsable", "--no-requeue", "--export=ALL", "--chdir=/"),
            *("--output=/dev/null", "--error=/dev/null", f"--job-name={folder.label_of(job)}"),
            *(f"--{name}={value}" for name, value in self._where.items() if value),
            *_requests(job),
            str(job.folder / SCRIPT),
        )
        script = f"#!/bin/sh\nexec {shlex.join(supervisor)} 2>>{errors}\n"
        return folder.render_folder(job, self.name, command, {SCRIPT: script}, INHERIT)

    def submit(self, launch: Launch) -> Handle:
        """Hand the launch to Slurm; see `Executor.submit`."""
        return folder.submit_once(launch, lambda: {"job": self._find_or_add(launch)})

    def poll(self, handle: Handle) -> Poll:
        """What became of the job; see `Executor.poll`."""
        number = handle.system["job"]
        state = self._state(number)
        if state.word in WAITING:
            return Poll("waiting")
        if state.word in GOING:
            return Poll("running")
        ending = read_ending(handle.job_dir)
        if ending is None and (handle.job_dir / STARTED).exists():
            now_s = time.monotonic()
            if now_s - self._ended_s.setdefault(number, now_s) < LAG_S:
                return Poll("running")
            detail = f"slurm ended it ({state.word}) before its supervisor could say why"
            ending = bury(handle.job_dir, _mark_of(handle.job_dir), detail)
        wished = (handle.job_dir / CANCEL).exists()
        return Poll("ended", judge(ending, state, wished=wished))

    def cancel(self, handle: Handle) -> None:
        """Leave the wish where the supervisor sees it; a job that still waits is taken out."""
        create_once(handle.job_dir / CANCEL, b"")
        self._call("scancel", "--state=PENDING", handle.system["job"], may_fail=True)
        self._asked_s = -math.inf

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        """A piece of the log; see `Executor.logs`."""
        return folder.read_log(handle.job_dir / LOG, offset, limit)

    def _find_or_add(self, launch: Launch) -> str:
        option = "--job-name="
        name = next(word for word in launch.command if word.startswith(option))
        named = f"--name={name.removeprefix(option)}"
        known = self._call("squeue", "--me", named, "--states=all", "--noheader", "--format=%i")
        if known.split():
            return known.split()[0]
        # --parsable prints `number` or `number;cluster`.
        return self._call(*launch.command).strip().partition(";")[0]

    def _state(self, number: str) -> State:
        """One `squeue` answers for every job, for a second; a job it forgot is in the accounts."""
        with self._lock:
            known = number in self._states or number in self._forgotten
            if not known or time.monotonic() - self._asked_s > FRESH_S:
                self._ask()
            if number not in self._states and number not in self._forgotten:
                self._forgotten[number] = self._state_in_accounts(number)
            return self._states.get(number) or self._forgotten[number]

    def _ask(self) -> None:
        answer = self._call("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r")
        rows = (line.split("|", 2) for line in answer.splitlines() if line.count("|") == 2)
        self._states = {row[0]: State(row[1], row[2]) for row in rows}
        told = self._forgotten.items()
        self._forgotten = {number: one for number, one in told if one.word in ENDED_FOR_GOOD}
        self._asked_s = time.monotonic()

    def _state_in_accounts(self, number: str) -> State:
        answer = self._call("sacct", "-n", "-X", "-P", "-j", number, "-o", "State", may_fail=True)
        word = answer.strip().partition("\n")[0]
        return State(word or "UNKNOWN", "None" if word else "slurm knows the job no more")

    def _call(self, *command: str, may_fail: bool = False) -> str:
        try:
            done = proc.run(command, cwd=folder.HERE, env=self._client_env(), timeout_s=CALL_S)
        except MissingPartError as error:
            raise MissingPartError(
                f"{command[0]} is not installed",
                remedy="run this on a login node of the cluster, or install slurm-client",
            ) from error
        if done.code != 0 and not may_fail:
            text = done.stderr.decode(errors="replace").strip()
            raise ExecutorError(
                f"{command[0]} failed: {text}",
                remedy="ask the cluster with `scontrol ping` and `sinfo`; options of the executor "
                "(partition, account, qos) stand in the runner's file",
            )
        return done.stdout.decode(errors="replace")

    def _client_env(self) -> Mapping[str, str]:
        conf = self._conf or os.environ.get("SLURM_CONF", "")
        return proc.base_env() | ({"SLURM_CONF": conf} if conf else {})


def judge(ending: Ending | None, state: State, *, wished: bool) -> Ending:
    """The end of a job from what its supervisor wrote and what Slurm says. Pure.

    The supervisor knows why a job ended, except where Slurm itself ended it: then it saw a
    SIGTERM, or nothing.
    """
    said = f"slurm: {state.word}" + (f" ({state.reason})" if state.reason != "None" else "")
    if ending is None:
        reason = "cancelled" if wished or state.word.startswith("CANCELLED") else "launch"
        ending = Ending(None, None, "vanished" if state.word in TAKEN else reason, said)
    by_slurm = not wished and ending.reason in {"cancelled", "vanished", "signal"}
    if by_slurm and state.word in TAKEN:
        return replace(ending, reason="vanished", detail=said)
    if by_slurm and state.word in {"TIMEOUT", "DEADLINE"}:
        return replace(ending, reason="timeout", limit="wall_s", detail=said)
    if by_slurm and state.word == "OUT_OF_MEMORY":
        return replace(ending, reason="memory", limit="memory_mb", detail=said)
    return ending


def _mark_of(job_dir: Path) -> str:
    try:
        started = read_started(job_dir)
    except ValueError:  # the job spoiled the file; Slurm itself ends what is left
        started = None
    return "" if started is None else started.mark


def _requests(job: Job) -> tuple[str, ...]:
    """What sbatch is asked for: a job's needs, and its limits with a margin."""
    wall_s = job.limits.wall_s + job.limits.grace_s + MARGIN_S
    memory_mb = math.ceil(max(job.resources.memory_mb, job.limits.memory_mb)) + MARGIN_MB
    words = [
        "--nodes=1",
        f"--cpus-per-task={job.resources.cpus}",
        f"--mem={memory_mb}M",
        f"--time={math.ceil(wall_s / 60)}",
    ]
    if job.resources.gpus:
        words.append(f"--gres=gpu:{job.resources.gpus}")
    if job.after:
        numbers = ":".join(one.system["job"] for one in job.after)
        words += [f"--dependency=afterok:{numbers}", "--kill-on-invalid-dep=yes"]
    return tuple(words)
