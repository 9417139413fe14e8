"""A runner's own settings file: what it is, what it trusts, what it may run. Never in the repo."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bridge import canonical, schema
from bridge.bus.artifacts import ArtLimits
from bridge.bus.profile import Profile, choose_profile
from bridge.bus.refs import DEFAULT_ROOT, Refs
from bridge.bus.retention import Retention
from bridge.errors import UsageError
from bridge.records import Resources
from bridge.runner.notifying import Hook, make_hooks
from presets import strict_yaml

_HERE = frozenset({"local", "pueue", "actions"})
"""Executors that start jobs on the runner's own machine."""
_MEMORY_SHARE = 0.9  # the rest is the system's and the runner's own


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """What one runner is and may do.

    Attributes:
        trusted: the checkout whose commit decides presets, gates and executors.
        trusted_commit: a commit pinned by hand, None for the checkout's HEAD at start.
        allow_edits: run although the checkout's files differ from its commit; the record says so.
        code_policy: merged (reachable from the trusted commit), signed, or any (isolation only).
        allowed_signers: keys whose signed requests may bring code that is not merged.
        run_as: another user of this machine that jobs run as, None for the runner's own.
        python: interpreter of the jobs.
        executors: the ways to launch that this runner has, with their options.
        slots: what may be in use at once by all jobs.
        keep_jobs: folders of ended jobs that are kept for a person to look at.
        retention: when ended jobs are folded into the ledger, and for how long logs are kept.
        notify: who is told of the jobs that end here.
        artifacts: how large an artifact may be that goes to the bus or comes from it.
        fast_path: speak smart HTTP without git processes, where the bus is reached so.
        require_enrolled: let the steps of runners that are not enrolled count for nothing.
    """

    name: str
    bus: str
    refs: Refs
    profile: Profile
    labels: tuple[str, ...]
    trusted: Path
    trusted_commit: str | None
    allow_edits: bool
    code_policy: str
    allowed_signers: Path | None
    run_as: str | None
    python: str
    slots: Resources
    executors: Mapping[str, Mapping[str, str]]
    env: Mapping[str, str]
    state_dir: Path
    cache_dir: Path
    assets_dir: Path
    keep_jobs: int = 5
    retention: Retention = field(default_factory=Retention)
    notify: tuple[Hook, ...] = ()
    artifacts: ArtLimits = field(default_factory=ArtLimits)
    fast_path: bool = True
    require_enrolled: bool = False

    @property
    def local_labels(self) -> tuple[str, ...]:
        """Labels that speak of this machine: none where every job runs on another one."""
        return self.labels if _HERE & set(self.executors) else ()

    @property
    def isolation(self) -> str:
        """The isolation level that this runner gives: `user` (another OS user) or `process`."""
        return "user" if self.run_as else "process"


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> RunnerConfig:
    """The settings in the YAML file at `path`, with those of a command line laid over them.

    Raises:
        UsageError: no such file, or every fault in it at its path.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            remedy="write one (docs/operators.md), or name the bus: runner start --bus URL|DIR",
        ) from error
    document = strict_yaml.load(data, where=str(path)).value
    if isinstance(document, dict):
        document = {**document, **(overrides or {})}
    return parse_config(document, where=str(path), base=path.parent)


def parse_config(document: Any, *, where: str, base: Path) -> RunnerConfig:
    """Settings from their document; relative paths start at `base`.

    Raises:
        UsageError: every fault at its path.
    """
    schema.check(document, schema.load("bridge", "runner"), where=where)
    bus = _address(document["bus"], base)
    policy = document.get("code_policy", "merged")
    run_as = document.get("run_as")
    if policy == "any" and run_as is None:
        raise UsageError(
            "$.code_policy: any code is run only in isolation",
            where=where,
            remedy="name another user of this machine as run_as, or use code_policy: merged",
        )
    signers = document.get("allowed_signers")
    if policy == "signed" and signers is None:
        raise UsageError(
            "$.allowed_signers: missing; code_policy signed needs the list of keys",
            where=where,
            remedy="name a file of lines such as: alice ssh-ed25519 AAAA...",
        )
    if run_as is not None and os.geteuid() != 0:
        raise UsageError(
            f"$.run_as: only root can run jobs as {run_as!r}",
            where=where,
            remedy="start the runner as root, or leave run_as out",
        )
    trusted = document["trusted"]
    folders = _folders(document, base)
    return RunnerConfig(
        name=document["name"],
        bus=bus,
        refs=Refs(document.get("root", DEFAULT_ROOT)),
        profile=choose_profile(document.get("profile"), bus),
        labels=tuple(document.get("labels", ["any"])),
        trusted=(base / Path(trusted["checkout"]).expanduser()).resolve(),
        trusted_commit=trusted.get("commit"),
        allow_edits=trusted.get("allow_edits", False),
        code_policy=policy,
        allowed_signers=None if signers is None else _existing(signers, base, where),
        run_as=run_as,
        python=document.get("python", sys.executable),
        slots=Resources(**{**_whole_machine(), **document.get("slots", {})}),
        executors=MappingProxyType(dict(document.get("executors", {"local": {}}))),
        env=MappingProxyType(dict(document.get("env", {}))),
        state_dir=folders["state_dir"],
        cache_dir=folders["cache_dir"],
        assets_dir=folders["assets_dir"],
        keep_jobs=document.get("keep_jobs", 5),
        retention=Retention(**document.get("fold", {})),
        notify=make_hooks(document.get("notify", ())),
        artifacts=ArtLimits(**document.get("artifacts", {})),
        fast_path=document.get("fast_path", True),
        require_enrolled=document.get("require_enrolled", False),
    )


def default_config_path() -> Path:
    """Where the settings file is looked for when none is named."""
    import platformdirs

    return Path(platformdirs.user_config_dir("kakeya_remote")) / "runner.yaml"


def default_assets_dir() -> Path:
    """The user's cache of published inputs: `KAKEYA_ASSETS`, or below the user's cache folder."""
    import platformdirs

    named = os.environ.get("KAKEYA_ASSETS")
    return Path(named or Path(platformdirs.user_cache_dir("kakeya_remote")) / "assets").absolute()


def _folders(document: dict[str, Any], base: Path) -> dict[str, Path]:
    import platformdirs

    # one runner name may serve several buses, each with a state of its own
    own = f"{document['name']}-{canonical.digest(document['bus'])[7:15]}"
    defaults = {
        "state_dir": Path(platformdirs.user_state_dir("kakeya_remote")) / "runner" / own,
        "cache_dir": Path(platformdirs.user_cache_dir("kakeya_remote")) / "runner" / own,
        "assets_dir": default_assets_dir(),
    }
    return {
        key: (base / Path(document[key]).expanduser()).resolve() if key in document else folder
        for key, folder in defaults.items()
    }


def _address(bus: str, base: Path) -> str:
    if "://" in bus or (":" in bus and "/" not in bus.split(":", 1)[0]):
        return bus
    return str((base / Path(bus).expanduser()).resolve())


def _existing(name: str, base: Path, where: str) -> Path:
    path = (base / Path(name).expanduser()).resolve()
    if not path.is_file():
        raise UsageError(f"$.allowed_signers: no file {path}", where=where)
    return path


def _whole_machine() -> dict[str, int]:
    import psutil

    memory_mb = int(psutil.virtual_memory().total / 2**20 * _MEMORY_SHARE)
    return {"cpus": psutil.cpu_count() or 1, "memory_mb": memory_mb, "gpus": 0, "gpu_memory_mb": 0}
