"""The ways to reach a bare repository: a path, git daemon, smart HTTP, ssh.

Smart HTTP is there twice: `http` through git, `fast` through the fast path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.servers import git_daemon, smart_http, sshd
from tests.servers.transport import Transport


@contextmanager
def _serve_path(_: Path, base: Path) -> Iterator[Transport]:
    yield Transport("file", base, str(base))


@contextmanager
def _serve_http(folder: Path, base: Path) -> Iterator[Transport]:
    with smart_http.serve(folder, base) as transport:
        yield replace(transport, client_env={"KAKEYA_FAST_PATH": "false"})


@contextmanager
def _serve_fast(folder: Path, base: Path) -> Iterator[Transport]:
    with smart_http.serve(folder, base) as transport:
        yield replace(transport, name="fast", client_env={"KAKEYA_FAST_PATH": "true"})


SERVERS: dict[str, Callable[[Path, Path], AbstractContextManager[Transport]]] = {
    "file": _serve_path,
    "daemon": git_daemon.serve,
    "http": _serve_http,
    "fast": _serve_fast,
    "ssh": sshd.serve,
}

PARTS: dict[str, tuple[str, ...]] = {
    "file": ("git",),
    "daemon": ("git-daemon",),
    "http": ("nginx", "fcgiwrap", "git-http-backend"),
    "fast": ("nginx", "fcgiwrap", "git-http-backend"),
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
