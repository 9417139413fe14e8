"""The four ways to reach a bare repository: a path, git daemon, smart HTTP, ssh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.servers import git_daemon, smart_http, sshd
from tests.servers.transport import Transport


@contextmanager
def _serve_path(_: Path, base: Path) -> Iterator[Transport]:
    yield Transport("file", base, str(base))


SERVERS: dict[str, Callable[[Path, Path], AbstractContextManager[Transport]]] = {
    "file": _serve_path,
    "daemon": git_daemon.serve,
    "http": smart_http.serve,
    "ssh": sshd.serve,
}

PARTS: dict[str, tuple[str, ...]] = {
    "file": ("git",),
    "daemon": ("git-daemon",),
    "http": ("nginx", "fcgiwrap", "git-http-backend"),
    "ssh": ("sshd", "ssh", "ssh-keygen"),
}
"""The real parts (`tests.parts`) that each server is made of."""


@contextmanager
def open_transport(name: str) -> Iterator[Transport]:
    """Serve an empty folder while the block runs.

    The folder has a short path of its own: a unix socket's name holds about 100 bytes at most.
    """
    with TemporaryDirectory(prefix="kakeya-") as folder:
        base = Path(folder) / "served"
        base.mkdir()
        with SERVERS[name](Path(folder), base) as transport:
            yield transport
