"""The one module that starts processes: argv lists, explicit folder, environment and bounds.

A job's own process is not started here but by `executors/supervise`, which runs at the far side.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bridge.errors import ExecutorError, MissingPartError

MAX_OUTPUT_BYTES = 64 * 2**20
DRAIN_S = 0.5
"""How long output is awaited after the process ended: a daemon it left may hold the pipe."""

# What a program needs to find itself, its language, its certificates and its accelerator. Nothing
# here names a credential; a preset lists whatever else it wants passed through.
_KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "__CF_USER_TEXT_ENCODING",
)
_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that ended: its exit code (negative: the signal) and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


def base_env(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """A minimal environment: no `KAKEYA_*`, no `GIT_*`, no agent socket, no token.

    Args:
        source: the environment to take from; this process's own by default.
    """
    given = os.environ if source is None else source
    return _DEFAULTS | {name: given[name] for name in _KEPT if given.get(name)}


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    input: bytes = b"",  # noqa: A002 - the name that subprocess.run taught everybody
    max_output: int = MAX_OUTPUT_BYTES,
) -> Completed:
    """Run a program to its end and take its output, at most `max_output` bytes of each stream.

    Raises:
        MissingPartError: there is no such program.
        ExecutorError: it ran past `timeout_s` or wrote too much; its process group was killed.
    """
    process = _start(argv, cwd=cwd, env=env, stdin=subprocess.PIPE if input else subprocess.DEVNULL)
    try:
        stdout, stderr = _exchange(process, input, time.monotonic() + timeout_s, max_output)
        return Completed(process.wait(), stdout, stderr)
    except _BoundError as error:
        raise ExecutorError(
            f"{argv[0]} {error.what.format(timeout_s=timeout_s, max_output=max_output)}",
            where=str(cwd),
            remedy=f"run it by hand to see why: {' '.join(argv)[:500]}",
        ) from None
    finally:
        if process.returncode is None:
            kill_group(process.pid)
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: Path,
    new_session: bool = True,
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that outlives this call; both its streams are appended to `stdout`.

    Raises:
        MissingPartError: there is no such program.
        ExecutorError: it could not be started, or not as `user`.
    """
    with stdout.open("ab") as log:
        return _start(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            new_session=new_session,
            user=user,
        )


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class _BoundError(Exception):
    def __init__(self, what: str) -> None:
        self.what = what


def _start(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int,
    stdout: IO[bytes] | None = None,
    new_session: bool = True,
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE if stdout is None else subprocess.STDOUT,
            start_new_session=new_session,
            user=user,
            group=None if user is None else _group_of(user),
            extra_groups=None if user is None else [],
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        if not cwd.is_dir():
            raise ExecutorError(f"no such folder: {cwd}", where=argv[0]) from error
        raise MissingPartError(
            f"{argv[0]} is not installed", where=str(cwd), remedy=f"install {argv[0]}"
        ) from error
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ExecutorError(f"cannot start {argv[0]}: {error}", where=str(cwd)) from error


def _group_of(user: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError:
        raise ExecutorError(
            f"there is no user {user}", remedy=f"create it (useradd {user}), or name another"
        ) from None


def _exchange(
    process: subprocess.Popen[bytes], data: bytes, deadline: float, max_output: int
) -> tuple[bytes, bytes]:
    taken: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    pending = memoryview(data)
    with selectors.DefaultSelector() as selector:
        for name in taken:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, "stdin")
        while selector.get_map():
            if process.poll() is not None:  # from here on a leftover child may hold the pipes
                deadline = min(deadline, time.monotonic() + DRAIN_S)
            events = selector.select(min(0.2, max(0.0, deadline - time.monotonic())))
            if not events and time.monotonic() >= deadline:
                if process.poll() is not None:
                    break
                raise _BoundError("ran longer than {timeout_s:g} s and was killed")
            for key, _ in events:
                if key.data == "stdin":
                    pending = _feed(process, selector, pending)
                elif not _take(key, selector, taken[key.data], max_output):
                    raise _BoundError("wrote more than {max_output} bytes and was killed")
    try:
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _BoundError("ran longer than {timeout_s:g} s and was killed") from None
    return bytes(taken["stdout"]), bytes(taken["stderr"])


def _feed(
    process: subprocess.Popen[bytes], selector: selectors.BaseSelector, pending: memoryview
) -> memoryview:
    assert process.stdin is not None
    try:
        pending = pending[os.write(process.stdin.fileno(), pending[:65536]) :]
    except BlockingIOError:
        return pending
    except BrokenPipeError:  # it has read all that it wants
        pending = pending[:0]
    if not pending:
        selector.unregister(process.stdin)
        process.stdin.close()
    return pending


def _take(
    key: selectors.SelectorKey,
    selector: selectors.BaseSelector,
    taken: bytearray,
    max_output: int,
) -> bool:
    block = os.read(key.fd, 65536)
    if not block:
        selector.unregister(key.fileobj)
    taken += block
    return len(taken) <= max_output
