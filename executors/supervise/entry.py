"""The supervisor's way in: claim the job folder, detach, run, leave `exit.json`."""

from __future__ import annotations

import os
import secrets
import sys
import time
import traceback
from pathlib import Path

from . import cgroup, processes
from .files import create_once, encode, read_json, write_whole
from .launch import ENDED, ERRORS, GROUP, LAUNCH, STARTED, Ending, Launch, launch_from_json
from .pruning import prune
from .status import look
from .supervisor import Supervisor
from .transfer import pack, unpack

EXIT_USAGE = 2
EXIT_STARTED_BEFORE = 75


def main(arguments: list[str]) -> int:
    """Run a job folder's launch, or answer about one; see the package's `__main__`."""
    if arguments[:1] and arguments[0] in _ANSWERS:
        return _ANSWERS[arguments[0]](arguments[1:])
    foreground = arguments[:1] == ["--foreground"]
    folders = arguments[1:] if foreground else arguments
    if len(folders) != 1:
        sys.stderr.write("usage: supervise [--foreground] JOB_DIR\n")
        return EXIT_USAGE
    job_dir = Path(folders[0]).absolute()
    try:
        launch = launch_from_json(read_json(job_dir / LAUNCH) or {})
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{job_dir / LAUNCH}: {error}\n")
        return EXIT_USAGE
    if foreground:
        mark = _claim(job_dir)
        if mark is None:
            sys.stderr.write(f"{job_dir} was started before; a job folder runs once\n")
            return EXIT_STARTED_BEFORE
        return _exit_code(hold(launch, mark))
    return _detach(launch)


def _tell_status(arguments: list[str]) -> int:
    state, ending = look(Path(arguments[0]))
    said = {"state": state, "ending": None if ending is None else ending.as_json()}
    sys.stdout.write(encode(said).decode())
    return 0


def _unpack(arguments: list[str]) -> int:
    archive, digest, target = arguments
    try:
        unpack(Path(archive), digest, Path(target))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _pack(arguments: list[str]) -> int:
    folder, *names = arguments
    pack(Path(folder), names, sys.stdout.buffer)
    return 0


def _prune(arguments: list[str]) -> int:
    root, limit_bytes = arguments
    try:
        gone = prune(Path(root), int(limit_bytes), time.time())
    except OSError as error:  # somebody else tidies up at the same time
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{name}\n" for name in gone))
    return 0


_ANSWERS = {"--status": _tell_status, "--unpack": _unpack, "--pack": _pack, "--prune": _prune}


def hold(launch: Launch, mark: str) -> Ending:
    """Run the job to its end and write `exit.json`, whatever happens on the way."""
    started_s = time.monotonic()
    group = cgroup.create(f"kakeya-{mark[:16]}", launch.limits.memory_mb)
    if group is not None:
        (launch.job_dir / GROUP).write_text(str(group.path))
    try:
        for folder in (launch.out, launch.report):
            folder.mkdir(exist_ok=True)
        ending = Supervisor(launch, mark, group).run()
    except BaseException as error:
        traceback.print_exc()
        detail = f"the supervisor failed: {error!r}; see {ERRORS} in the job's folder"
        now_s = time.monotonic()
        ending = Ending(None, None, "vanished", detail, started_s=started_s, ended_s=now_s)
    finally:
        if group is not None:
            group.remove()
    write_whole(launch.job_dir / ENDED, encode(ending.as_json()))
    return ending


def _claim(job_dir: Path) -> str | None:
    """Become the one process that runs this folder; the mark of the run, None where it has one."""
    mark = secrets.token_hex(16)
    identity = {
        "schema": "kakeya.supervisor/1",
        "pid": os.getpid(),
        "started": processes.identity(os.getpid()),
        "mark": mark,
    }
    return mark if create_once(job_dir / STARTED, encode(identity)) else None


def _detach(launch: Launch) -> int:
    """Go on in a process of another session; this one ends once that one has claimed the folder."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as claimed:
            claimed.read()
        started = read_json(launch.job_dir / STARTED)
        if started is None:
            sys.stderr.write(f"the supervisor did not start; see {launch.job_dir / ERRORS}\n")
            return 1
        sys.stdout.write(encode(started).decode())
        return 0
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reader)
    _leave_streams(launch.job_dir / ERRORS)
    mark = _claim(launch.job_dir)
    os.close(writer)
    if mark is not None:
        hold(launch, mark)
    return 0


def _leave_streams(errors: Path) -> None:
    """Let go of the caller's streams; a fault of the supervisor's own goes to `errors`."""
    nothing = os.open(os.devnull, os.O_RDWR)
    faults = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, stream in ((nothing, 0), (nothing, 1), (faults, 2)):
        os.dup2(source, stream)
    os.close(nothing)
    os.close(faults)
    os.chdir("/")


def _exit_code(ending: Ending) -> int:
    if ending.code is not None:
        return ending.code
    return 1 if ending.signal is None else 128 + ending.signal
