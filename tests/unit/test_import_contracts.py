"""Each import contract is kept by the code as it is, and broken by one planted line."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge import proc
from tests import parts

REPO = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
NAMES = [contract["name"] for contract in SETTINGS["contracts"]]

VIOLATIONS: dict[str, tuple[str, str]] = {
    "imports run one way": ("bridge/git/settings.py", "from bridge.bus import refs"),
    "the bridge holds no other module": ("bridge/helpers.py", "import json"),
    "the core is pure": ("bridge/states.py", "import time"),
    "one module starts processes": ("executors/contract.py", "import subprocess"),
    "the far side stands alone": ("executors/bootstrap.py", "from bridge import errors"),
    "one module calls git": ("bridge/bus/remote.py", "import git"),
    "the control plane is free of torch and of workloads": (
        "bridge/runner/config.py",
        "import torch",
    ),
    "workloads are blind to one another": ("workloads/probe/__init__.py", "import workloads.noop"),
    "workloads know only the shared package and errors": (
        "workloads/noop/__init__.py",
        "from bridge import records",
    ),
}
"""Contract to the file and the line that break it; the line stands inside a function."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their settings, to be spoilt."""
    parts.require("lint-imports")
    folder = tmp_path_factory.mktemp("packages")
    for package in SETTINGS["root_packages"]:
        ignore = shutil.ignore_patterns("__pycache__", "records")
        shutil.copytree(REPO / package, folder / package, ignore=ignore)
    shutil.copy(REPO / "pyproject.toml", folder)
    return folder


def _lint(folder: Path) -> dict[str, str]:
    """Each contract's verdict, KEPT or BROKEN."""
    program = Path(sys.executable).with_name("lint-imports")
    argv = [str(program), "--config", "pyproject.toml", "--no-cache"]
    done = proc.run(argv, cwd=folder, env=proc.base_env(), timeout_s=120)
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout.decode(), re.MULTILINE))
    assert set(verdicts) == set(NAMES), (done.stdout + done.stderr).decode()
    assert (done.code == 0) == ("BROKEN" not in verdicts.values())
    return verdicts


@contextmanager
def _planted(path: Path, line: str) -> Iterator[None]:
    before = path.read_text("utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n\ndef _planted() -> None:\n    {line}\n", "utf-8")
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")


def test_every_contract_has_its_violation() -> None:
    assert set(VIOLATIONS) == set(NAMES)


def test_the_code_keeps_every_contract(copy: Path) -> None:
    assert _lint(copy) == dict.fromkeys(NAMES, "KEPT")


@pytest.mark.parametrize("name", NAMES)
def test_one_line_breaks_the_contract(copy: Path, name: str) -> None:
    file, line = VIOLATIONS[name]
    with _planted(copy / file, line):
        assert _lint(copy)[name] == "BROKEN"
