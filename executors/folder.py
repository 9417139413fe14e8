"""The folder of one attempt: how it is laid out, staged, read, and buried when nobody else did.

`code/ out/ report/ job.json launch.json bootstrap.py supervisor.json output.log exit.json`; the
supervisor writes all but `code/`, `job.json` (the runner's) and what lies in `out/` and `report/`.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import filelock

from bridge.canonical import digest_bytes
from bridge.errors import ExecutorError
from executors.contract import (
    BOOTSTRAP,
    CODE,
    LOG,
    OUT,
    REPORT,
    Handle,
    Job,
    Launch,
    Poll,
    handle_from_json,
)
from executors.supervise import cgroup, processes
from executors.supervise.entry import GROUP
from executors.supervise.files import create_once, encode, read_json, write_whole
from executors.supervise.launch import (
    ENDED,
    LAUNCH,
    MARK,
    STARTED,
    Ending,
    ending_from_json,
)

HERE = Path(__file__).resolve().parent
SUPERVISE = HERE / "supervise"
HANDLE = "handle.json"
SUBMIT_S = 120.0
DEAD = "its supervisor ended without a word: killed, or the machine was restarted"


def render_folder(
    job: Job,
    executor: str,
    command: tuple[str, ...],
    files: Mapping[str, str] | None = None,
    inherit: tuple[str, ...] = (),
) -> Launch:
    """A launch on this machine's file system, whatever system starts its `command`. Pure."""
    return Launch(
        executor=executor,
        argv=job.argv,
        cwd=job.folder / CODE,
        env=job.env,
        job_dir=job.folder,
        out=job.folder / OUT,
        report=job.folder / REPORT,
        log=job.folder / LOG,
        limits=job.limits,
        run_as=job.run_as,
        command=command,
        files=MappingProxyType(dict(files or {})),
        inherit=inherit,
    )


def stage(launch: Launch) -> None:
    """Write what the supervisor reads; the same launch again changes nothing.

    Raises:
        ExecutorError: the folder already holds another launch, or cannot be written.
    """
    try:
        for folder in (launch.job_dir, launch.cwd, launch.out, launch.report):
            folder.mkdir(parents=True, exist_ok=True)
        if not (launch.job_dir / LAUNCH).exists():
            shutil.copyfile(HERE / BOOTSTRAP, launch.job_dir / BOOTSTRAP)
            for name, text in launch.files.items():
                (launch.job_dir / name).write_text(text, encoding="utf-8")
        data = encode(launch.as_json())
        # It holds the job's environment, and with that its secrets: nobody else may read it.
        created = create_once(launch.job_dir / LAUNCH, data, mode=0o600)
        if not created and (launch.job_dir / LAUNCH).read_bytes() != data:
            raise ExecutorError(
                "the folder holds another launch",
                where=str(launch.job_dir),
                remedy="give each attempt a folder of its own",
            )
    except OSError as error:
        raise ExecutorError(
            f"cannot write the job's folder: {error}",
            where=str(launch.job_dir),
            remedy="free disk space or change the folder's owner",
        ) from error


def started_system(job_dir: Path) -> Mapping[str, str]:
    """What `supervisor.json` says of the process that holds a job.

    Raises:
        ExecutorError: there is no such file.
    """
    started = read_json(job_dir / STARTED)
    if started is None:
        raise ExecutorError("no supervisor has started here", where=str(job_dir))
    names = ("pid", "started", "mark")
    return MappingProxyType({name: str(started[name]) for name in names})


def submit_once(launch: Launch, start: Callable[[], Mapping[str, str]]) -> Handle:
    """Stage a launch and `start` it; a folder that has a handle keeps it and starts nothing.

    `start` answers what its system calls the job. It must find a job that an earlier call started
    and did not live to write down.
    """
    stage(launch)
    path = launch.job_dir / HANDLE
    with filelock.FileLock(launch.job_dir / f".{HANDLE}.lock", timeout=SUBMIT_S):
        known = read_json(path)
        if known is None:
            known = Handle(launch.executor, launch.job_dir, start()).as_json()
            write_whole(path, encode(known))
    return handle_from_json(known)


def poll_started(job_dir: Path, system: Mapping[str, str]) -> Poll:
    """What became of a job whose supervisor runs, or ran, on this machine."""
    # A living supervisor has the last word: exit.json is believed once it is gone, so that a job
    # that writes the file itself ends nothing.
    if processes.identity(int(system["pid"])) == system["started"]:
        return Poll("running")
    return Poll("ended", read_ending(job_dir) or bury(job_dir, system["mark"]))


def finish(job_dir: Path, reason: str, detail: str) -> Poll:
    """Write the end of a job that no supervisor will write any more, unless one did."""
    create_once(job_dir / ENDED, encode(Ending(None, None, reason, detail).as_json()))
    return Poll("ended", read_ending(job_dir))


def label_of(job: Job) -> str:
    """A name no other attempt has: two buses on one machine may know the same id."""
    place = digest_bytes(str(job.folder).encode(errors="surrogateescape"))[7:19]
    return f"kakeya-{job.id}-{job.attempt}-{place}"


def read_ending(job_dir: Path) -> Ending | None:
    """The job's end as its supervisor wrote it, None where it did not."""
    try:
        data = read_json(job_dir / ENDED)
        return None if data is None else ending_from_json(data)
    except ValueError as error:
        return Ending(None, None, "vanished", f"exit.json cannot be read: {error}")


def bury(job_dir: Path, mark: str, detail: str = DEAD) -> Ending:
    """End what a dead supervisor left behind and write the end that it could not write."""
    if (job_dir / GROUP).exists():
        cgroup.sweep(Path((job_dir / GROUP).read_text()))
    left = 0
    while rows := processes.marked(processes.table(), f"{MARK}={mark}"):
        sent = processes.send(rows, signal.SIGKILL)
        if not sent:  # not ours to kill
            break
        left = max(left, sent)
    ending = Ending(None, None, "vanished", detail, leftovers=left)
    create_once(job_dir / ENDED, encode(ending.as_json()))
    return read_ending(job_dir) or ending


def read_log(path: Path, offset: int, limit: int) -> bytes:
    """A piece of a file that may not be there yet."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""
