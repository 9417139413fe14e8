"""The requester's checkout, read through git objects alone: its files are neither read nor changed.

Presets and code come from commits, so that a dirty or half-merged tree makes no difference.
"""

from __future__ import annotations

import getpass
import importlib.resources
from dataclasses import dataclass
from pathlib import Path

from bridge.bus.enrolled import keyring_at
from bridge.canonical import is_oid
from bridge.errors import UsageError
from bridge.git import Git
from bridge.records import clean_text
from bridge.signers import Keyring
from presets.catalog import Catalog, load_catalog, parse_catalog

_PRESETS = "presets"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A git worktree: its repository, its root folder, and the commit at HEAD (None if unborn)."""

    git: Git
    root: Path
    head: str | None

    def resolve(self, revision: str) -> str:
        """The full id of the commit that `revision` names.

        Raises:
            UsageError: nothing here has that name.
        """
        commit = self.git.resolve(revision)
        if commit is None:
            raise UsageError(
                f"{revision!r} names no commit of this checkout",
                where=str(self.root),
                remedy="give a branch, a tag or a commit: --code REVISION",
            )
        return commit

    def preset_files(self) -> dict[str, bytes]:
        """The files `presets/*.yaml` of the commit at HEAD, by name; empty where it has none."""
        if self.head is None:
            return {}
        return {
            path.removeprefix(f"{_PRESETS}/"): self.git.read(oid)[1]
            for path, (mode, oid) in self.git.list_files(self.head, _PRESETS).items()
            if path.count("/") == 1 and path.endswith(".yaml") and mode.startswith("100")
        }


def find_checkout(folder: Path) -> Checkout | None:
    """The checkout that holds `folder`, or None."""
    for place in (folder, *folder.parents):
        if (place / ".git").exists():
            git = Git(place)
            return Checkout(git, place, git.resolve("HEAD"))
    return None


def read_catalog(checkout: Checkout | None) -> tuple[Catalog, str]:
    """The presets a requester may name, and where they were read.

    They are those of the commit at HEAD where that has any, else those of the installed package.

    Raises:
        ManifestError: a file among them is wrong.
    """
    files = checkout.preset_files() if checkout else {}
    if files:
        assert checkout is not None
        return parse_catalog(files), f"commit {(checkout.head or '')[:12]} of {checkout.root}"
    folder = Path(str(importlib.resources.files("presets")))
    return load_catalog(folder), f"the installed package, {folder}"


def read_enrolled(checkout: Checkout | None, *, required: bool) -> Keyring:
    """The enrolled and revoked keys that the commit at HEAD lists; none outside a checkout.

    Raises:
        UsageError: a line of a list that is no such thing.
    """
    if checkout is None:
        return Keyring(required=required, source="no checkout")
    return keyring_at(checkout.git, checkout.head, required=required)


def resolve_code(checkout: Checkout | None, revision: str) -> str:
    """The full id of the code commit of a request.

    Raises:
        UsageError: it cannot be told here.
    """
    if checkout is not None:
        return checkout.resolve(revision)
    if is_oid(revision):
        return revision
    raise UsageError(
        f"{revision!r} cannot be looked up: this is no git checkout",
        where="--code",
        remedy="run this inside the checkout whose code the job runs, or give a full commit id",
    )


def requester_name(checkout: Checkout | None) -> str:
    """Who asks: git's `user.name`, or the name of the OS user where git has none."""
    name = checkout.git.config("user.name") if checkout else None
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):  # a container may run as a user id without a name
            name = "unknown"
    return clean_text(name, 200).strip() or "unknown"
