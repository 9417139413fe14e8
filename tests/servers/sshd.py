"""sshd for this user alone, with keys made for the occasion; clients share one connection.

Without a shared connection a push costs some 200 ms of key exchange, and as much again where the
user's own shell set-up runs: so HOME is a folder that has none.

Source: sshd_config(5), ssh_config(5).
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge import proc
from tests.servers.child import find_program, free_port, listens, running, server_env
from tests.servers.transport import Transport

_PRIVILEGE_FOLDER = Path("/run/sshd")  # compiled into sshd, which as root will not start without it


@contextmanager
def serve(folder: Path, base: Path) -> Iterator[Transport]:
    """Serve whatever this user may read; the variant `stranger` has a key that is not known."""
    port, user = free_port(), getpass.getuser()
    sshd, ssh = find_program("sshd"), find_program("ssh")
    assert sshd is not None
    assert ssh is not None
    for name in ("host", "friend", "stranger"):
        make_key(folder / name)
    (folder / "authorized").write_text((folder / "friend.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd.conf").write_text(server_config(folder, port))
    (folder / "ssh.conf").write_text(_client_config(folder, port, user))
    make_privilege_folder()
    server = [sshd, "-D", "-e", "-f", str(folder / "sshd.conf")]
    shared = [ssh, "-F", str(folder / "ssh.conf"), "-M", "-N", "bus"]
    socket = folder / "mux"
    with (
        running(server, folder=folder, env=server_env(folder), ready=lambda: listens(port)),
        running(shared, folder=folder, env=server_env(folder), ready=socket.exists),
    ):
        client = {"GIT_SSH_COMMAND": f"ssh -F {folder}/ssh.conf"}
        variants = {"stranger": f"ssh://stranger{base}"}
        yield Transport("ssh", base, f"ssh://bus{base}", client, variants)


def make_privilege_folder() -> None:
    """The folder without which sshd does not start as root."""
    if os.geteuid() == 0:
        _PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)


def make_key(path: Path) -> None:
    """A new Ed25519 key without a passphrase."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    done = proc.run(argv, cwd=path.parent, env=proc.base_env(), timeout_s=30)
    assert done.code == 0, done.stderr


def server_config(folder: Path, port: int) -> str:
    """What sshd is told: only the keys in `folder` open it."""
    return f"""ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
AcceptEnv GIT_PROTOCOL
SetEnv HOME={folder} GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
MaxStartups 100
MaxSessions 100
"""


def _client_config(folder: Path, port: int, user: str) -> str:
    common = f"""  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  SendEnv GIT_PROTOCOL
"""
    return f"""Host bus
{common}  IdentityFile {folder}/friend
  ControlPath {folder}/mux
Host stranger
{common}  IdentityFile {folder}/stranger
"""
