"""`git daemon`: the git:// protocol, with no authentication at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.child import find_git_program, free_port, listens, running, server_env
from tests.servers.transport import Transport


@contextmanager
def serve(folder: Path, base: Path) -> Iterator[Transport]:
    """Serve `base` for reading and for pushing."""
    port = free_port()
    program = find_git_program("git-daemon")
    assert program is not None
    argv = [
        program,
        f"--base-path={base}",
        "--export-all",
        "--enable=receive-pack",
        "--listen=127.0.0.1",
        f"--port={port}",
        "--reuseaddr",
        "--informative-errors",
        str(base),
    ]
    with running(argv, folder=folder, env=server_env(folder), ready=lambda: listens(port)):
        yield Transport("daemon", base, f"git://127.0.0.1:{port}")
