"""A pueue daemon with a state folder and a socket of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import until


def call(config: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The client's answer."""
    command = ["pueue", "--config", str(config), *arguments]
    return subprocess.run(command, capture_output=True, timeout=30, check=False)


@contextlib.contextmanager
def configured() -> Iterator[Path]:
    """A configuration without a daemon. Unix sockets take short paths only."""
    folder = Path(tempfile.mkdtemp(prefix="pueue-"))
    (folder / "pueue.yml").write_text(
        f"shared:\n  pueue_directory: {folder}\n  runtime_directory: {folder}\n"
        "  use_unix_socket: true\nclient: {}\ndaemon: {}\n"
    )
    try:
        yield folder / "pueue.yml"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(config: Path, program: str = "pueued") -> Iterator[subprocess.Popen[bytes]]:
    """A daemon on a configuration."""
    with (config.parent / "daemon.log").open("ab") as log:
        daemon = subprocess.Popen(
            [program, "--config", str(config)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: list(config.parent.glob("*.socket")), bound_s=20, what="pueued's socket")
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait(30)
