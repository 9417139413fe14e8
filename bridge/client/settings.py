"""Which bus a client talks to: flag, then variable, then `kakeya.yaml`, then the user's file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from bridge import schema
from bridge.bus.profile import Profile, choose_profile
from bridge.bus.refs import DEFAULT_ROOT, Refs
from bridge.errors import UsageError
from bridge.git import check_url
from presets import strict_yaml

APPLICATION = "kakeya_remote"
REPO_FILE = "kakeya.yaml"
USER_FILE = "config.yaml"
KEYS = (
    *("bus", "root", "profile", "labels", "fast_path", "require_enrolled"),
    *("signing_key", "on_push"),
)
_Layer = dict[str, tuple[Any, str]]  # key to (value, where it came from)
_SCP_ADDRESS = re.compile(r"[^/]+:")  # host:path or user@host:path, as git reads it


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know before it reaches the bus.

    Attributes:
        bus: address of the git remote, or an absolute path; None where nothing names one.
        refs: names under the bus's root.
        profile: the bus's clocks; None where there is no bus.
        labels: labels added to every request that names none itself.
        cache: folder for the clones of this bus; None where there is no bus.
        on_push: requests stand on the remote's default branch, for GitHub Actions to see.
        sources: which setting came from where, for `doctor`.
        fast_path: speak smart HTTP without git processes, where the bus is reached so.
        require_enrolled: let the steps of runners that are not enrolled count for nothing.
        signing_key: the SSH key that signs requests; None where no setting names one.
    """

    bus: str | None
    refs: Refs
    profile: Profile | None
    labels: tuple[str, ...]
    cache: Path | None
    sources: Mapping[str, str]
    fast_path: bool = True
    require_enrolled: bool = False
    signing_key: Path | None = None
    on_push: bool = False

    def require(self) -> tuple[str, Profile, Path]:
        """The bus's address, profile and cache folder.

        Raises:
            UsageError: nothing names a bus.
        """
        if self.bus is None or self.profile is None or self.cache is None:
            raise UsageError(
                "no bus is named",
                where="settings",
                remedy="give --bus URL|DIR, set KAKEYA_BUS, write `bus:` into kakeya.yaml, "
                "or try it with --embedded",
            )
        return self.bus, self.profile, self.cache


def load_settings(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    folder: Path,
    checkout: Path | None,
    user_folder: Path | None = None,
) -> Settings:
    """The settings in force.

    Args:
        flags: `bus`, `root`, `profile`, `labels` of a command line; None or absent where not given.
        environment: `KAKEYA_BUS`, `KAKEYA_ROOT`, `KAKEYA_PROFILE`, `KAKEYA_LABELS` (commas),
            `KAKEYA_FAST_PATH`, `KAKEYA_REQUIRE_ENROLLED` and `KAKEYA_ON_PUSH` (true or false),
            `KAKEYA_SIGNING_KEY`, `KAKEYA_CACHE` (base folder of the cache).
        folder: where relative paths of flags and variables start.
        checkout: root of the worktree whose `kakeya.yaml` counts, or None.
        user_folder: where the user's own file lies; the platform's place by default.

    Raises:
        UsageError: a file that is no strict YAML or has unknown keys, or a value that cannot be.
    """
    home = user_folder or Path(platformdirs.user_config_dir(APPLICATION))
    files = [*([checkout / REPO_FILE] if checkout else []), home / USER_FILE]
    layers = [_from_flags(flags, folder), _from_environment(environment, folder)]
    layers += [_from_file(path) for path in files]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for key, (value, source) in layer.items():
            if key not in values:
                values[key], sources[key] = value, source
    bus = values.get("bus")
    refs = Refs(values.get("root", DEFAULT_ROOT))
    signing_key = values.get("signing_key")
    profile = None if bus is None else choose_profile(values.get("profile"), bus)
    return Settings(
        bus=bus,
        refs=refs,
        profile=profile,
        labels=tuple(values.get("labels", ())),
        cache=None if bus is None else cache_folder(bus, refs.root, environment),
        sources=MappingProxyType(sources),
        fast_path=values.get("fast_path", True),
        require_enrolled=bool(values.get("require_enrolled", False)),
        signing_key=None if signing_key is None else Path(signing_key).expanduser(),
        on_push=values.get("on_push", False),
    )


def absolute_bus(address: str, folder: Path) -> str:
    """`address` with a local path made absolute against `folder`.

    Raises:
        UsageError: it is no address that git could take.
    """
    check_url(address)
    is_path = "://" not in address and not _SCP_ADDRESS.match(address)
    if not is_path:
        return address
    return os.path.normpath(folder / Path(address).expanduser())


def cache_folder(bus: str, root: str, environment: Mapping[str, str]) -> Path:
    """The folder of the client's disposable clones of one bus."""
    base = environment.get("KAKEYA_CACHE") or platformdirs.user_cache_dir(APPLICATION)
    name = hashlib.sha256(f"{bus}\n{root}".encode()).hexdigest()[:16]
    return Path(base).absolute() / "client" / name


def _from_flags(flags: Mapping[str, Any], folder: Path) -> _Layer:
    given = {key: flags[key] for key in KEYS if flags.get(key)}
    if "bus" in given:
        given["bus"] = absolute_bus(given["bus"], folder)
    return {key: (value, f"--{key}") for key, value in given.items()}


def _from_environment(environment: Mapping[str, str], folder: Path) -> _Layer:
    names = {key: f"KAKEYA_{key.upper()}" for key in KEYS}
    given: dict[str, Any] = {
        key: environment[name] for key, name in names.items() if environment.get(name)
    }
    if "bus" in given:
        given["bus"] = absolute_bus(given["bus"], folder)
    if "labels" in given:
        given["labels"] = [part.strip() for part in given["labels"].split(",") if part.strip()]
    if "signing_key" in given:
        given["signing_key"] = str(folder / Path(given["signing_key"]).expanduser())
    for key in ("fast_path", "require_enrolled", "on_push"):
        if key in given:
            given[key] = _truth(given[key], names[key])
    return {key: (value, names[key]) for key, value in given.items()}


def _truth(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise UsageError(f"{text!r} is neither true nor false", where=name)
    return text == "true"


def _from_file(path: Path) -> _Layer:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    document = strict_yaml.load(data, where=str(path)).value
    schema.check(
        document,
        schema.load("bridge", "settings"),
        where=str(path),
        remedy=f"it may hold {', '.join(KEYS)}; see docs/cli.md",
    )
    if "bus" in document:
        document["bus"] = absolute_bus(document["bus"], path.parent)
    if "signing_key" in document:
        if path.name == REPO_FILE:  # a repository has no say in what its readers sign with
            raise UsageError(
                "$.signing_key: a key is named in your own file, not in a repository",
                where=str(path),
                remedy=f"write it into {USER_FILE} of your user, or set KAKEYA_SIGNING_KEY",
            )
        document["signing_key"] = str(path.parent / Path(document["signing_key"]).expanduser())
    return {key: (value, str(path)) for key, value in document.items()}
