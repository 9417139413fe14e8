"""Faults of the line and of the server at its end: lost replies, silence, outages, credentials."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bridge import proc
from tests.drills.deaths import POINTS
from tests.drills.field import Field
from tests.drills.table import Drill
from tests.servers.child import find_program, listens, server_env
from tests.servers.proxy import Proxy, open_proxy
from tests.servers.smart_http import PASSWORD, USER
from tests.waiting import until

SERVED = ("daemon", "http", "ssh")
_PROGRAMS = {"daemon": "git-daemon", "http": "nginx", "ssh": "sshd"}


def _server_folder(field: Field) -> Path:
    return field.transport.base.parent


def _port(field: Field) -> int:
    if field.transport.name == "ssh":
        found = re.search(r"Port (\d+)", (_server_folder(field) / "ssh.conf").read_text())
        assert found is not None
        return int(found[1])
    port = urlsplit(field.lab.url).port
    assert port is not None
    return port


@contextmanager
def _through_proxy(field: Field) -> Iterator[Proxy]:
    """Let everybody reach the bus through a line that can be cut."""
    port = _port(field)
    with open_proxy(port) as proxy:
        if field.transport.name == "ssh":
            field.env["GIT_SSH_COMMAND"] += (
                f" -p {proxy.port} -o ControlPath=none -o HostKeyAlias=[127.0.0.1]:{port}"
            )
        else:
            field.lab.url = field.lab.url.replace(f":{port}/", f":{proxy.port}/")
        yield proxy


def _lose_reply(event: str, place: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        """The server has it, and its word never arrives."""
        with _through_proxy(field) as proxy:
            field.start("one")
            ambush = field.lie_in_wait(event, place)
            field.submit()
            ambush.wait()
            field.strike()
            proxy.mode = "refuse"
            proxy.cut()
            ambush.let_go()
            proxy.mode = "pass"
            field.settle()
            field.close()

    return run


def _hang(field: Field) -> None:
    """The server takes connections and never says a word, until somebody starts it again."""
    with _through_proxy(field) as proxy:
        field.start("one")
        ref = field.submit(seconds=3)
        field.wait(ref, "running")
        field.strike()
        proxy.mode = "hang"
        proxy.cut()
        field.wait_for_words("no answer within")
        proxy.mode = "pass"
        proxy.cut()
        field.settle()
        field.close()


def _outage(field: Field) -> None:
    """kill -9 of the whole server; it is started again after the runner has noticed."""
    field.start("one")
    ref = field.submit(seconds=2)
    field.wait(ref, "running")
    program = _PROGRAMS[field.transport.name]
    victims = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.name().startswith(program)
    ]
    argv = _restart_argv(field, victims)
    field.strike()
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    field.wait_for_words("bus: ")
    folder = _server_folder(field)
    again = proc.spawn(argv, cwd=folder, env=server_env(folder), stdout=folder / "again.log")
    try:
        until(lambda: listens(_port(field)), bound_s=30, what=f"{program} again")
        field.settle()
    finally:
        field.close()
        again.terminate()
        proc.kill_group(again.pid)
        again.wait()


def _restart_argv(field: Field, victims: list[psutil.Process]) -> list[str]:
    """How the server was started; nginx and sshd write over their own command lines."""
    folder = _server_folder(field)
    if field.transport.name == "daemon":
        return next(victim.cmdline() for victim in victims)
    program = find_program(_PROGRAMS[field.transport.name])
    assert program is not None
    if field.transport.name == "ssh":
        return [program, "-D", "-e", "-f", str(folder / "sshd.conf")]
    conf, errors = str(folder / "nginx.conf"), str(folder / "nginx.error")
    return [program, "-p", str(folder), "-c", conf, "-e", errors]


def _expire_credentials(field: Field) -> None:
    """The password is no longer taken in the middle of a job, and later is again."""
    field.lab.url = f"{field.transport.variants['locked']}/{field.remote.path.name}"
    answer = f"!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f"
    field.env |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": answer,
    }
    passwords = _server_folder(field) / "passwords"
    kept = passwords.read_text()
    field.start("one")
    ref = field.submit(seconds=2)
    field.wait(ref, "running")
    field.strike()
    passwords.write_text(f"{USER}:{{PLAIN}}another\n")
    try:
        field.wait_for_words("Authentication failed")
    finally:
        passwords.write_text(kept)
    field.settle()


DRILLS: tuple[Drill, ...] = (
    *(
        Drill(f"reply lost, {state}", _lose_reply(*point), over=SERVED, brief=("http",))
        for state, point in POINTS.items()
        if point[1] == "committed"
    ),
    Drill("server hangs in mid job", _hang, over=SERVED, brief=("http",)),
    Drill("server killed and started again", _outage, over=SERVED, brief=SERVED),
    Drill("credentials expire in mid job", _expire_credentials, over=("http",), brief=("http",)),
)
