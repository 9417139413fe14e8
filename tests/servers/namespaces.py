"""Three machines that are network namespaces of this one: a server between a client and a runner.

Each has addresses of its own, and a line to the server that can be cut: packets vanish, as they do
behind a dead router, and no connection is told so.

Source: ip-netns(8), veth(4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge import proc
from tests.servers.child import find_program

GUESTS = ("client", "runner")


def _ip(*words: str, check: bool = True) -> bool:
    argv = [find_program("ip") or "ip", *words]
    done = proc.run(argv, cwd=Path("/"), env=proc.base_env(), timeout_s=20)
    assert done.code == 0 or not check, f"{argv}: {done.stderr.decode()}"
    return done.code == 0


def are_allowed() -> bool:
    """Whether this process may make a network namespace."""
    if find_program("ip") is None:
        return False
    name = f"kakeya-probe-{os.getpid()}"
    made = _ip("netns", "add", name, check=False)
    return made and _ip("netns", "delete", name, check=False)


@dataclass(frozen=True)
class Network:
    """A server's namespace and one for each guest; `name` is what they are called by."""

    name: str

    def space(self, machine: str) -> str:
        """The name of a machine's namespace."""
        return f"{self.name}-{machine}"

    def address(self, guest: str) -> str:
        """Where a guest reaches the server."""
        return f"10.231.{GUESTS.index(guest)}.1"

    def inside(self, machine: str, *argv: str) -> list[str]:
        """A command as it is run on a machine."""
        return [find_program("ip") or "ip", "netns", "exec", self.space(machine), *argv]

    def cut(self, guest: str) -> None:
        """Let every packet between a guest and the server vanish."""
        _ip("-n", self.space("server"), "link", "set", f"to-{guest}", "down")

    def join(self, guest: str) -> None:
        """Let them through again."""
        _ip("-n", self.space("server"), "link", "set", f"to-{guest}", "up")


@contextmanager
def open_network() -> Iterator[Network]:
    """The three machines while the block runs."""
    network = Network(f"kakeya-{os.getpid()}")
    machines = ("server", *GUESTS)
    try:
        for machine in machines:
            _ip("netns", "add", network.space(machine))
            _ip("-n", network.space(machine), "link", "set", "lo", "up")
        for guest in GUESTS:
            there, here = network.space(guest), network.space("server")
            near = ("link", "add", f"to-{guest}", "netns", here)
            _ip(*near, "type", "veth", "peer", "name", "to-server", "netns", there)
            own = network.address(guest)
            _ip("-n", here, "address", "add", f"{own}/24", "dev", f"to-{guest}")
            guest_address = own.removesuffix("1") + "2/24"
            _ip("-n", there, "address", "add", guest_address, "dev", "to-server")
            _ip("-n", there, "link", "set", "to-server", "up")
            network.join(guest)
        yield network
    finally:
        for machine in machines:
            _ip("netns", "delete", network.space(machine), check=False)
