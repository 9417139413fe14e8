"""One server program as a foreground child: start it, wait until it answers, end it by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bridge import proc
from tests.waiting import until

_START_BOUND_S = 20.0


def find_program(name: str) -> str | None:
    """The absolute path of a program, looked for beside Python and where Debian keeps daemons."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{beside}")


def find_git_program(name: str) -> str | None:
    """The absolute path of one of git's own programs, such as `git-http-backend`."""
    git = shutil.which("git")
    if git is None:
        return None
    done = proc.run([git, "--exec-path"], cwd=Path("/"), env=proc.base_env(), timeout_s=20)
    return shutil.which(name, path=done.stdout.decode().strip())


def server_env(home: Path) -> dict[str, str]:
    """An environment for a server: no configuration but its own."""
    return {
        **proc.base_env(),
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    argv: Sequence[str], *, folder: Path, env: Mapping[str, str], ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; `ready` says when it answers."""
    log = folder / f"{Path(argv[0]).name}.log"
    process = proc.spawn(argv, cwd=folder, env=env, stdout=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, f"{argv[0]} ended:\n{log.read_text()[-2000:]}"
            return ready()

        until(answers, bound_s=_START_BOUND_S, what=f"{argv[0]} answering")
        yield process
    finally:
        _end(process)


def listens(port: int) -> bool:
    """Whether something takes connections on a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # the leader alone, so that it can reap its own workers
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    proc.kill_group(process.pid)
    process.wait()
