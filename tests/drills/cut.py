"""A client and a runner on machines of their own, and a line that is dead in the middle of a job.

The bus lies on a third machine behind sshd. The runner's line is cut: its packets vanish. Whoever
waits goes on waiting, nothing is lost, and the job ends once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bridge import proc
from tests.drills.field import BOUND_S, Field
from tests.drills.table import Drill, SkipDrillError
from tests.servers import namespaces, sshd
from tests.servers.child import find_program, server_env
from tests.servers.namespaces import Network
from tests.waiting import until

CUT_S = 60.0
PORT = 2222
_CLIENT = """\
Host bus
  HostName {address}
  Port {port}
  User root
  HostKeyAlias bus
  IdentityFile {folder}/friend
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  SendEnv GIT_PROTOCOL
  ConnectTimeout 5
  ServerAliveInterval 5
  ServerAliveCountMax 3
"""


def _write_ssh(folder: Path, network: Network) -> None:
    """Keys and settings of the server and of both guests."""
    for name in ("host", "friend"):
        sshd.make_key(folder / name)
    (folder / "authorized").write_text((folder / "friend.pub").read_text())
    (folder / "known").write_text(f"bus {(folder / 'host.pub').read_text()}")
    settings = sshd.server_config(folder, PORT).replace("127.0.0.1", "0.0.0.0")
    (folder / "sshd.conf").write_text(settings)
    for guest in namespaces.GUESTS:
        text = _CLIENT.format(address=network.address(guest), port=PORT, folder=folder)
        (folder / f"{guest}.conf").write_text(text)


def work_through_a_cut(field: Field, cut_s: float) -> None:
    """Cut the runner's line for `cut_s` in the middle of a job.

    Raises:
        AssertionError: the job was lost or doubled, or the client was not told of its end.
        SkipDrillError: no network namespace may be made here.
    """
    if not namespaces.are_allowed():
        raise SkipDrillError("no network namespace may be made here: be root, with iproute2")
    folder = field.lab.folder / "ssh"
    folder.mkdir()
    with namespaces.open_network() as network:
        _write_ssh(folder, network)
        program = find_program("sshd")
        assert program is not None
        sshd.make_privilege_folder()
        argv = network.inside("server", program, "-D", "-e", "-f", str(folder / "sshd.conf"))
        log = folder / "sshd.log"
        server = proc.spawn(argv, cwd=folder, env=server_env(folder), stdout=log)
        try:
            until(lambda: b"listening" in log.read_bytes(), bound_s=30, what="sshd")
            _work(field, network, folder, cut_s)
        finally:
            field.close()
            server.terminate()
            server.wait(timeout=20)


def _work(field: Field, network: Network, folder: Path, cut_s: float) -> None:
    field.lab.url = f"ssh://bus{field.remote.path}"
    settings = field.lab.settings("one", profile="self-hosted")
    _start(field, network, "runner", ("runner", "start", "--config", str(settings)), "one")
    field.lab.wait_for_beat("one", field.processes["one"])
    words = ("run", "noop", "-p", "seconds=15", "--wait", "--json", "--bus", field.lab.url)
    client = _start(field, network, "client", words, "client")
    ref = until(lambda: next(iter(field.lab.bus.poll().jobs), ""), bound_s=BOUND_S, what="the job")
    field.refs.append(ref)
    field.wait(ref, "claimed", "running")
    field.strike()
    network.cut("runner")
    over_s = time.monotonic() + cut_s
    until(lambda: time.monotonic() >= over_s, bound_s=cut_s + 60, what="the end of the cut")
    assert not field.chain(ref).ended, "the job ended over a dead line"
    network.join("runner")
    assert client.wait(timeout=BOUND_S + cut_s) == 0, field.words("client")
    field.settle("done")


def _start(
    field: Field, network: Network, guest: str, words: tuple[str, ...], name: str
) -> subprocess.Popen[bytes]:
    folder = field.lab.folder
    env = {
        **proc.base_env(),
        "PYTHONPATH": str(field.lab.checkout),
        "GIT_SSH_COMMAND": f"ssh -F {folder}/ssh/{guest}.conf",
        "KAKEYA_CACHE": str(folder / "caches" / name),
        "HOME": str(folder),
    }
    argv = network.inside(guest, sys.executable, "-m", "bridge.cli.main", *words)
    log = folder / f"{name}.log"
    field.processes[name] = proc.spawn(argv, cwd=field.lab.checkout, env=env, stdout=log)
    return field.processes[name]


def _cut(cut_s: float) -> Callable[[Field], None]:
    return lambda field: work_through_a_cut(field, cut_s)


DRILLS: tuple[Drill, ...] = (
    Drill(f"line cut for {CUT_S:g} s, own networks, over ssh", _cut(CUT_S)),
)
