"""The folder of one attempt: how it is laid out, staged, read, and buried when nobody else did.

`code/ out/ report/ job.json launch.json bootstrap.py supervisor.json output.log exit.json`; the
supervisor writes all but `code/`, `job.json` (the runner's) and what lies in `out/` and `report/`.
"""

from __future__ import annotations

import shutil
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
from executors.supervise.files import create_once, encode, read_json, write_whole
from executors.supervise.launch import ENDED, LAUNCH, Ending
from executors.supervise.status import Started, look, read_ending

HERE = Path(__file__).resolve().parent
SUPERVISE = HERE / "supervise"
HANDLE = "handle.json"
SUBMIT_S = 120.0


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
        home=job.folder,
        job_dir=job.folder,
        out=job.folder / OUT,
        report=job.folder / REPORT,
        log=job.folder / LOG,
        limits=job.limits,
        run_as=job.run_as,
        command=command,
        files=MappingProxyType(dict(files or {})),
        inherit=inherit,
        writable=job.writable,
    )


def stage(launch: Launch) -> None:
    """Write what the supervisor reads; the same launch again changes nothing.

    Raises:
        ExecutorError: the folder already holds another launch, or cannot be written.
    """
    try:
        for name in (CODE, OUT, REPORT):
            (launch.home / name).mkdir(parents=True, exist_ok=True)
        if not (launch.home / LAUNCH).exists():
            shutil.copyfile(HERE / BOOTSTRAP, launch.home / BOOTSTRAP)
            for name, text in launch.files.items():
                (launch.home / name).write_text(text, encoding="utf-8")
        data = encode(launch.as_json())
        # It holds the job's environment, and with that its secrets: nobody else may read it.
        created = create_once(launch.home / LAUNCH, data, mode=0o600)
        if not created and (launch.home / LAUNCH).read_bytes() != data:
            raise ExecutorError(
                "the folder holds another launch",
                where=str(launch.home),
                remedy="give each attempt a folder of its own",
            )
    except OSError as error:
        raise ExecutorError(
            f"cannot write the job's folder: {error}",
            where=str(launch.home),
            remedy="free disk space or change the folder's owner",
        ) from error


def submit_once(launch: Launch, start: Callable[[], Mapping[str, str]]) -> Handle:
    """Stage a launch and `start` it; a folder that has a handle keeps it and starts nothing.

    `start` answers what its system calls the job. It must find a job that an earlier call started
    and did not live to write down.
    """
    stage(launch)
    path = launch.home / HANDLE
    with filelock.FileLock(launch.home / f".{HANDLE}.lock", timeout=SUBMIT_S):
        known = read_json(path)
        if known is None:
            known = Handle(launch.executor, launch.home, start()).as_json()
            write_whole(path, encode(known))
    return handle_from_json(known)


def poll_started(job_dir: Path, known: Started | None = None) -> Poll | None:
    """What became of a job under a supervisor of this machine; None while none has started."""
    state, ending = look(job_dir, known)
    return None if state == "waiting" else Poll(state, ending)


def finish(job_dir: Path, reason: str, detail: str) -> Poll:
    """Write the end of a job that no supervisor will write any more, unless one did."""
    create_once(job_dir / ENDED, encode(Ending(None, None, reason, detail).as_json()))
    return Poll("ended", read_ending(job_dir))


def label_of(job: Job) -> str:
    """A name no other attempt has: two buses on one machine may know the same id."""
    place = digest_bytes(str(job.folder).encode(errors="surrogateescape"))[7:19]
    return f"kakeya-{job.id}-{job.attempt}-{place}"


def read_log(path: Path, offset: int, limit: int) -> bytes:
    """A piece of a file that may not be there yet."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""
