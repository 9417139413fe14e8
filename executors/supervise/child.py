"""The start of the job's main process: its user, its session, its environment, its log pipe."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cgroup import Group
from .launch import MARK, Launch

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_LAST_TO_LIVE = "500"  # oom_score_adj: the kernel takes the job before the supervisor


class LaunchFault(Exception):  # noqa: N818 - it is told in exit.json, never raised to a caller
    """The job could not be started; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Child:
    """The job's main process and the end of the pipe that its output comes from."""

    process: subprocess.Popen[bytes]
    output: int


def adopt_orphans() -> bool:
    """Become the parent of every orphaned descendant, where the system has that (Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def start(launch: Launch, mark: str, group: Group | None) -> Child:
    """Start the job in its own session and process group, with `launch.env` and nothing more.

    Raises:
        LaunchFault: there is no such user or program, or the user may not reach its folders.
    """
    user = _user_of(launch)
    given = {name: os.environ[name] for name in launch.inherit if name in os.environ}
    env = dict(launch.env) | given | {MARK: mark}
    if user is not None:
        env |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
        for folder in (launch.out, launch.report, *launch.writable):
            _give(folder, user)
        _check_reach(launch, user)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    output, writer = os.pipe()
    try:
        with contextlib.nullcontext() if group is None else group.entered():
            process = subprocess.Popen(
                list(launch.argv),
                cwd=launch.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
                umask=0o022,
                preexec_fn=_dying_with_parent(),
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        os.close(output)
        raise LaunchFault(f"cannot start {launch.argv[0]}: {error}") from error
    finally:
        os.close(writer)
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(_LAST_TO_LIVE)
    os.set_blocking(output, False)
    return Child(process, output)


def _dying_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return bind


def _user_of(launch: Launch) -> pwd.struct_passwd | None:
    if launch.run_as is None:
        return None
    try:
        user = pwd.getpwnam(launch.run_as)
    except KeyError:
        raise LaunchFault(
            f"there is no user {launch.run_as}; create it (useradd {launch.run_as}) or change "
            "run_as in the runner's file"
        ) from None
    if os.geteuid() == user.pw_uid:
        return None
    if os.geteuid() != 0:
        raise LaunchFault(
            f"run_as {launch.run_as} needs a runner that is root; run it as a system service "
            "(runner install --system) or take run_as out of the runner's file"
        )
    return user


def _give(folder: Path, user: pwd.struct_passwd) -> None:
    """Give a folder and what is in it to the user; a hard link may lead elsewhere, so not that."""
    for root, folders, files in os.walk(folder):
        os.chown(root, user.pw_uid, user.pw_gid, follow_symlinks=False)
        for name in [*folders, *files]:
            path = os.path.join(root, name)
            facts = os.lstat(path)
            if facts.st_nlink == 1 or os.path.isdir(path):
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _check_reach(launch: Launch, user: pwd.struct_passwd) -> None:
    wanted = [(launch.cwd, os.R_OK | os.X_OK)]
    wanted += [
        (folder, os.W_OK | os.X_OK) for folder in (launch.out, launch.report, *launch.writable)
    ]
    if os.path.isabs(launch.argv[0]):
        wanted.append((Path(launch.argv[0]), os.X_OK))
    closed = _first_closed(wanted, user)
    if closed:
        raise LaunchFault(
            f"user {user.pw_name} may not reach {closed}; let it (chmod o+x), or keep jobs and "
            "interpreter where that user can read them"
        )


def _first_closed(wanted: list[tuple[Path, int]], user: pwd.struct_passwd) -> str:
    """The first path that the user cannot reach; a child that has become the user looks."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.write(writer, _closed_among(wanted).encode(errors="surrogateescape")[:4096])
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as answer:
        return answer.read().decode(errors="replace")


def _closed_among(wanted: list[tuple[Path, int]]) -> str:
    for path, mode in wanted:
        for folder in reversed(path.absolute().parents):
            if not os.access(folder, os.X_OK):
                return str(folder)
        if not os.access(path, mode):
            return str(path)
    return ""
