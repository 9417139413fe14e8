"""Jobs on this machine, each under a detached supervisor that outlives the runner."""

from __future__ import annotations

import sys

from bridge import proc
from bridge.errors import ExecutorError, UsageError
from executors import folder
from executors.contract import LOG, Handle, Job, Launch, Poll
from executors.supervise.files import create_once
from executors.supervise.launch import CANCEL
from executors.supervise.status import read_started, started_from

SUBMIT_S = 60.0


class LocalExecutor:
    """Starts `executors/supervise` on this machine.

    Args:
        python: interpreter that runs the supervisor (not the job's: that one is in its argv).
    """

    name = "local"

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python

    def render(self, job: Job) -> Launch:
        """The launch of a job; see `Executor.render`.

        Raises:
            UsageError: the job waits for others; this machine has no queue.
        """
        if job.after:
            raise UsageError(
                "the local executor cannot wait for other jobs",
                remedy="use pueue or slurm, or let a campaign order the requests",
            )
        return folder.render_folder(
            job, self.name, (self._python, "-I", str(folder.SUPERVISE), str(job.folder))
        )

    def submit(self, launch: Launch) -> Handle:
        """Start the supervisor; see `Executor.submit`."""
        folder.stage(launch)
        done = proc.run(launch.command, cwd=launch.job_dir, env=proc.base_env(), timeout_s=SUBMIT_S)
        if done.code != 0:
            raise ExecutorError(
                f"the supervisor did not start: {done.stderr.decode(errors='replace').strip()}",
                where=str(launch.job_dir),
                remedy="check that the folder is writable and the disk is not full",
            )
        started = read_started(launch.job_dir)
        assert started is not None  # or it would have ended otherwise
        return Handle(self.name, launch.job_dir, started.as_text())

    def poll(self, handle: Handle) -> Poll:
        """What became of the job; see `Executor.poll`."""
        known = started_from(handle.system)
        return folder.poll_started(handle.job_dir, known) or Poll("waiting")

    def cancel(self, handle: Handle) -> None:
        """Leave the wish in the job's folder; the supervisor looks there; see `Executor.cancel`."""
        create_once(handle.job_dir / CANCEL, b"")

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        """A piece of the log; see `Executor.logs`."""
        return folder.read_log(handle.job_dir / LOG, offset, limit)
