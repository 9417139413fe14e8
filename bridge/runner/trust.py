"""The runner's trusted checkout: one commit that everything from launch to verdict comes from."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.bus.enrolled import keyring_at
from bridge.errors import RefusedError, UsageError
from bridge.git import Git
from bridge.objects import GitObject
from bridge.signers import Keyring
from presets.catalog import Catalog, parse_catalog

DECIDING = ("bridge", "evidence", "executors", "presets")
"""The folders whose files decide what runs and how it is judged."""


@dataclass(frozen=True, slots=True)
class Trust:
    """One trusted commit, written out as files.

    Attributes:
        commit: full oid; `tree` is its tree's.
        folder: its files, without `.git`; evaluator, bootstrap and supervisor run from here.
        catalog: its presets and assets.
        edited: deciding files of the running program that differ from the commit.
        keyring: its enrolled and revoked keys.
    """

    commit: str
    tree: str
    folder: Path
    catalog: Catalog
    edited: tuple[str, ...]
    keyring: Keyring = field(default_factory=Keyring)


def open_trust(checkout: Path, commit: str | None, state_dir: Path, *, allow_edits: bool) -> Trust:
    """Fix the trusted commit and write it out.

    Args:
        checkout: a git checkout of this project that only the operator moves.
        commit: the commit to trust; the checkout's HEAD if None.
        state_dir: exports go below `trusted/` here.
        allow_edits: go on though the running program differs from the commit.

    Raises:
        UsageError: no checkout, no such commit, or a broken preset in it.
        RefusedError: the running program is not what the commit says.
    """
    git = Git.find(checkout)
    if git is None:
        raise UsageError(
            "is no git checkout",
            where=str(checkout),
            remedy="trusted.checkout must name a clone of the repository whose presets you trust",
        )
    try:
        oid = git.resolve(commit or "HEAD")
        if oid is None:
            raise UsageError(
                f"has no commit {commit or 'HEAD'}",
                where=str(checkout),
                remedy="pull it into the trusted checkout first, or commit something",
            )
        folder = _export(oid, state_dir / "trusted", git.export)
        catalog = parse_catalog(
            {path: git.read(entry[1])[1] for path, entry in git.list_files(oid, "presets").items()}
        )
        edited = _differences(git, oid)
        if edited and not allow_edits:
            raise RefusedError(
                f"the running program is not what commit {oid[:12]} says",
                where=str(checkout),
                problems=edited[:20],
                remedy="commit or undo these edits and start the runner from that checkout",
            )
        return Trust(oid, git.tree_of(oid), folder, catalog, edited, keyring_at(git, oid))
    finally:
        git.close()


def _export(oid: str, parent: Path, write: Callable[[str, Path], None]) -> Path:
    folder = parent / oid
    if not folder.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        partial = parent / f"{oid}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write(oid, partial)
        partial.replace(folder)
    return folder


def _differences(git: Git, oid: str) -> tuple[str, ...]:
    """Deciding files where the program that runs now differs from the commit."""
    here = Path(__file__).resolve().parents[2]
    differing = []
    for package in DECIDING:
        wanted = {
            path: blob
            for path, (_, blob) in git.list_files(oid, package).items()
            if path.endswith(".py")
        }
        running = {
            path.relative_to(here).as_posix(): GitObject("blob", path.read_bytes()).oid
            for path in (here / package).rglob("*.py")
        }
        differing += [path for path in wanted | running if wanted.get(path) != running.get(path)]
    return tuple(sorted(differing))


# isolated from the caller's environment and folder; the export comes first on the path
_RUN_MODULE = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(trust: Trust, module: str, *arguments: str) -> list[str]:
    """The argv that runs a module of the trusted commit with the runner's own interpreter."""
    return [sys.executable, "-I", "-c", _RUN_MODULE, str(trust.folder), module, *arguments]
