"""From a runner's settings to its service: which user, which interpreter, which files."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import bridge
from bridge.errors import UsageError
from bridge.runner.config import RunnerConfig
from bridge.runner.service.interpreter import (
    Interpreter,
    Pin,
    candidates,
    check_pin,
    choose_interpreter,
    read_pin,
)
from bridge.runner.service.plan import MACOS
from bridge.runner.service.spec import ServiceSpec, start_s, watchdog_s

PIN = "pin.json"
_PASSED = (
    *("PATH", "KAKEYA_ASSETS", "KAKEYA_CACHE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What a service manager would not pass on, and git, pip and the jobs need."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The OS user that a service runs as."""

    name: str
    uid: int
    gid: int
    home: Path

    def own(self, *paths: Path) -> None:
        """Give the user what root wrote for it."""
        if os.geteuid() == 0 and self.uid != 0:
            for path in paths:
                os.chown(path, self.uid, self.gid)


def find_owner(scope: str, env: Mapping[str, str]) -> Owner:
    """The user behind `sudo` for a service of the machine; else who calls.

    A home that the environment names counts for the calling user.
    """
    entry = pwd.getpwuid(os.getuid())
    home = Path(env.get("HOME") or entry.pw_dir)
    if scope == "system" and os.geteuid() == 0 and env.get("SUDO_USER"):
        try:
            entry = pwd.getpwnam(env["SUDO_USER"])
        except KeyError as error:
            raise UsageError(f"there is no user {env['SUDO_USER']}", where="SUDO_USER") from error
        home = Path(entry.pw_dir)
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid, home)


def pin_path(config: RunnerConfig) -> Path:
    """Where an installation notes what it relies on."""
    return config.state_dir / PIN


def make_pin(config: RunnerConfig) -> Pin:
    """The runner's own interpreter and the first that keeps the promise of the labels.

    Raises:
        MissingPartError: none keeps it; what each lacks is named.
    """
    named = None if config.python == sys.executable else config.python
    jobs = choose_interpreter(candidates(named, os.environ.get("PATH", "")), config.local_labels)
    version = sys.version.split()[0]
    return Pin(Interpreter(sys.executable, version, sys.prefix), jobs, config.labels)


def make_spec(
    config: RunnerConfig,
    config_path: Path,
    *,
    scope: str,
    system: str,
    owner: Owner,
    env: Mapping[str, str],
) -> ServiceSpec:
    """The service of a runner; nothing is written.

    Args:
        config: its settings.
        config_path: the file that they came from.
        scope: `user` or `system`.
        system: `LINUX` or `MACOS`.
        owner: who it runs as.
        env: this process's environment; a few of its variables are passed on.
    """
    logs = owner.home / "Library" / "Logs" / "kakeya_remote"
    return ServiceSpec(
        name=config.name,
        scope=scope,
        user=owner.name,
        home=owner.home,
        python=Path(sys.executable),
        launcher=Path(bridge.__path__[0]) / "cli" / "launch.py",
        pin=pin_path(config),
        config=config_path.absolute(),
        state_dir=config.state_dir,
        log=logs / f"{config.name}.log" if system == MACOS else None,
        watchdog_s=watchdog_s(config.profile),
        start_s=start_s(config.profile),
        env={name: env[name] for name in _PASSED if env.get(name)},
    )


def python_of(config: RunnerConfig, pin_file: Path) -> str:
    """The jobs' interpreter of an installed runner, checked against its pin.

    Raises:
        UsageError: it moved, it lost a module, or the settings name another one since.
    """
    pin = read_pin(pin_file)
    if config.python not in (pin.jobs.path, sys.executable):
        raise UsageError(
            f"$.python: {config.python} is not the {pin.jobs.path} that was pinned",
            where="the runner's file",
            remedy="kakeya_remote runner install",
        )
    check_pin(pin, config.local_labels)
    return pin.jobs.path
