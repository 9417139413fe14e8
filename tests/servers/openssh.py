"""An OpenSSH server on loopback with keys of its own, ended by number."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from executors.supervise import processes
from tests.waiting import until

SSHD = "/usr/sbin/sshd"

CONF = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""


@dataclass
class Server:
    """A running server; `folder` holds its keys."""

    folder: Path
    port: int
    daemon: subprocess.Popen[bytes] | None = field(default=None)

    def options(self, root: Path) -> dict[str, str]:
        """What the ssh executor needs to get in."""
        return {
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": getpass.getuser(),
            "key": str(self.folder / "user_key"),
            "known_hosts": str(self.folder / "known_hosts"),
            "root": str(root),
            "python": "/usr/bin/python3",
        }

    def start(self) -> None:
        """Take connections."""
        with (self.folder / "sshd.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, bound_s=20, what="sshd")

    def stop(self) -> None:
        """Take no more connections and break those that are there."""
        assert self.daemon is not None
        sessions = processes.descendants(processes.table(), self.daemon.pid)
        self.daemon.terminate()
        self.daemon.wait(20)
        processes.send(sessions, signal.SIGKILL)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                return probe.recv(4) == b"SSH-"
        except OSError:
            return False


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that the key in its folder opens."""
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))
    for name in ("host_key", "user_key"):
        make_key(folder / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(CONF.format(port=port, folder=folder))
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    server = Server(folder, port)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def make_key(path: Path) -> None:
    """A new Ed25519 key without a passphrase."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
