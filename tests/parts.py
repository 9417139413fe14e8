"""Real parts that some tests need: skipped by name where one is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.servers import namespaces, systemd
from tests.servers.child import find_git_program, find_program

_BROWSER = Path(__file__).parent / "browser"


def _program(name: str) -> Callable[[], bool]:
    return lambda: find_program(name) is not None


def _git_program(name: str) -> Callable[[], bool]:
    return lambda: find_git_program(name) is not None


def _package(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


PARTS: dict[str, tuple[Callable[[], bool], str]] = {
    "git": (_program("git"), "apt-get install git"),
    "git-daemon": (_git_program("git-daemon"), "apt-get install git"),
    "git-http-backend": (_git_program("git-http-backend"), "apt-get install git"),
    "git-lfs": (_program("git-lfs"), "apt-get install git-lfs"),
    "nginx": (_program("nginx"), "apt-get install nginx-light"),
    "fcgiwrap": (_program("fcgiwrap"), "apt-get install fcgiwrap"),
    "sshd": (_program("sshd"), "apt-get install openssh-server"),
    "ssh": (_program("ssh"), "apt-get install openssh-client"),
    "ssh-keygen": (_program("ssh-keygen"), "apt-get install openssh-client"),
    "pueue": (_program("pueue"), "cargo install pueue --locked"),
    "pueued": (_program("pueued"), "cargo install pueue --locked"),
    "pueued-3": (
        _program("pueued-3"),
        "cargo install pueue --version 3.4.1 --locked, its pueued as pueued-3 on the path",
    ),
    "slurmctld": (_program("slurmctld"), "apt-get install slurm-wlm"),
    "slurmd": (_program("slurmd"), "apt-get install slurm-wlm"),
    "sbatch": (_program("sbatch"), "apt-get install slurm-wlm"),
    "munged": (_program("munged"), "apt-get install munge"),
    "paramiko": (_package("paramiko"), "pip install 'kakeya-remote[ssh]'"),
    "network namespaces": (
        namespaces.are_allowed,
        "apt-get install iproute2, and run the tests as root",
    ),
    "root": (lambda: os.geteuid() == 0, "run the tests as root"),
    "cc": (_program("cc"), "apt-get install gcc"),
    "systemd-analyze": (_program("systemd-analyze"), "apt-get install systemd"),
    "systemd": (
        systemd.is_possible,
        "apt-get install systemd util-linux, and run the tests as root where mounts are allowed",
    ),
    "act": (_program("act"), "pip install 'kakeya-remote[test]'"),
    "chromium": (_program("chromium"), "apt-get install chromium"),
    "npm": (_program("npm"), "apt-get install npm"),
    "axe-core": (
        lambda: (_BROWSER / "node_modules" / "axe-core" / "axe.min.js").is_file(),
        "npm ci --prefix tests/browser --ignore-scripts",
    ),
    "mcp": (_package("mcp"), "pip install 'kakeya-remote[mcp]'"),
    "textual": (_package("textual"), "pip install 'kakeya-remote[watch]'"),
    "jinja2": (_package("jinja2"), "pip install 'kakeya-remote[reports]'"),
    "lint-imports": (_package("importlinter"), "pip install import-linter"),
    "torch": (_package("torch"), "pip install 'kakeya-remote[workloads]'"),
    "transformers": (_package("transformers"), "pip install 'kakeya-remote[workloads]'"),
    "mlx_lm": (_package("mlx_lm"), "pip install 'kakeya-remote[mlx]'"),
    "matplotlib": (_package("matplotlib"), "pip install 'kakeya-remote[reports]'"),
}
"""Each part's name, whether it is here, and how to get it."""


def is_required() -> bool:
    """Whether a test must fail where a part is missing: `KAKEYA_REQUIRE_REAL=1`, as in CI."""
    return os.environ.get("KAKEYA_REQUIRE_REAL") == "1"


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` that are not here, each with how to get it."""
    return [f"{name} ({PARTS[name][1]})" for name in names if not PARTS[name][0]()]


def require(part: str) -> None:
    """Go on only where `part` is here.

    A part that is missing skips the test, with its name and how to get it; with
    `KAKEYA_REQUIRE_REAL=1` (as in CI) it fails the test.
    """
    probe, remedy = PARTS[part]
    if probe():
        return
    message = f"needs the real part {part!r}: {remedy}"
    if is_required():
        pytest.fail(message)
    pytest.skip(message)
