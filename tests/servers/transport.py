"""What every server offers to a test: repositories, and the addresses they are reached at."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge import proc
from tests.servers.child import server_env

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Remote:
    """A bare repository: its address for clients, and its folder on the server."""

    url: str
    path: Path


@dataclass(frozen=True)
class Transport:
    """A running server.

    Attributes:
        name: file, daemon, http, fast or ssh.
        base: the folder that the server serves.
        address: the address of `base`.
        client_env: variables that a client needs to reach it.
        variants: other addresses of `base`, by what is different there.
    """

    name: str
    base: Path
    address: str
    client_env: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)

    def create(self, *, allow_filter: bool = True) -> Remote:
        """A new, empty bare repository behind this server."""
        path = self.base / f"bus-{next(_numbers)}.git"
        for argv in (
            ["git", "init", "--quiet", "--bare", str(path)],
            ["git", "-C", str(path), "config", "uploadpack.allowFilter", str(allow_filter).lower()],
        ):
            done = proc.run(argv, cwd=self.base, env=server_env(self.base), timeout_s=30)
            assert done.code == 0, done.stderr
        return Remote(f"{self.address}/{path.name}", path)
