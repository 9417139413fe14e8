"""What a runner needs of its machine, each thing looked at with what to do: for the operator."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.bus.remote import GitBus
from bridge.errors import KakeyaError
from bridge.findings import FAULT, OK, WARNING, Finding, look
from bridge.git import Git
from bridge.runner.config import RunnerConfig
from bridge.runner.facts import describe_hardware
from bridge.runner.key import choose_key, load_key
from bridge.runner.machine import check_clock, check_disk, check_memory
from bridge.runner.models import check_accelerators, check_models
from bridge.runner.service.apply import ServiceState
from bridge.runner.service.install import pin_path, python_of
from bridge.runner.service.interpreter import (
    candidates,
    choose_interpreter,
    promised_modules,
)
from bridge.runner.service.plan import LINUX, MACOS
from bridge.runner.service.process import find_process
from bridge.runner.trust import Trust, open_trust

_HIDDEN = ("Documents", "Desktop", "Downloads")
_LINGER = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine around a runner, as far as it is asked once and not looked up anew.

    Attributes:
        system: as `sys.platform` says it.
        home: of the user that the runner runs as.
        user: that user's name.
        scope: of the service, `user` or `system`.
        service: what the service manager says.
        hardware: see `describe_hardware`.
        env: the runner's environment.
        wall_s: this machine's clock, Unix seconds.
    """

    system: str
    home: Path
    user: str
    scope: str
    service: ServiceState
    wall_s: Callable[[], float]
    hardware: Mapping[str, Any] = field(default_factory=describe_hardware)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def examine(config: RunnerConfig, around: Surroundings) -> tuple[Finding, ...]:
    """Look at everything; a check that fails does not stop the others."""
    trusted: list[Trust] = []
    findings = [look("trusted", lambda: _check_trust(config, trusted))]
    findings.append(look("key", lambda: _check_key(config, trusted)))
    findings.append(look("bus", lambda: _check_bus(config)))
    findings.append(look("clock", lambda: check_clock(config.bus, around.wall_s)))
    findings += [*check_disk(config), check_memory()]
    findings.append(look("interpreter", lambda: _check_interpreter(config)))
    if config.local_labels:
        findings += [*check_accelerators(config, around.hardware)]
    if trusted:
        env = {**around.env, **config.env}
        findings += [*check_models(config, trusted[0].catalog, env)]
    findings += [*_check_service(config, around)]
    findings += [*_check_folders(config, around)]
    return tuple(findings)


def _check_trust(config: RunnerConfig, found: list[Trust]) -> Finding:
    trust = open_trust(
        config.trusted, config.trusted_commit, config.state_dir, allow_edits=config.allow_edits
    )
    found.append(trust)
    text = f"commit {trust.commit[:12]} of {config.trusted}, {len(trust.catalog.presets)} presets"
    if trust.edited:
        return Finding(
            "trusted",
            WARNING,
            f"{text}; {len(trust.edited)} deciding files are edited, and records say so",
            "commit or undo the edits, then leave out trusted.allow_edits",
        )
    behind = _behind(config.trusted)
    if behind:
        return Finding("trusted", WARNING, f"{text}; {behind}", "kakeya_remote runner upgrade")
    return Finding("trusted", OK, text)


def _behind(checkout: Path) -> str:
    git = Git.find(checkout)
    if git is None:
        return ""
    try:
        upstream, head = git.resolve("@{upstream}"), git.resolve("HEAD")
        newer = upstream and head and upstream != head and git.is_ancestor(head, upstream)
        return f"its upstream is at {upstream[:12]}" if newer and upstream else ""
    finally:
        git.close()


def _check_key(config: RunnerConfig, trusted: list[Trust]) -> Finding:
    path = config.state_dir / "key"
    if not path.exists():
        return Finding("key", WARNING, "there is none yet", "the first start makes one")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        text = f"{path} may be read by others (mode {mode:o}): anybody there can sign as this one"
        remedy = f"chmod 600 {path}; if others could read it, make a new key and revoke this one"
        return Finding("key", FAULT, text, remedy)
    if trusted:
        key = choose_key(config.state_dir, config.name, trusted[0].keyring)
        if key.fingerprint not in trusted[0].keyring.names:
            text = "not enrolled on the trusted commit: results are shown as unenrolled"
            return Finding("key", WARNING, text, "kakeya_remote runner enroll")
        return Finding("key", OK, f"{key.fingerprint}, enrolled as {config.name}")
    return Finding("key", OK, load_key(config.state_dir, config.name).fingerprint)


def _check_bus(config: RunnerConfig) -> Finding:
    # a cache of its own: the runner that serves now may be using the other one
    bus = GitBus(config.bus, config.cache_dir / "doctor", refs=config.refs, profile=config.profile)
    try:
        identity = bus.identity()
    finally:
        bus.close()
    return Finding("bus", OK, f"{config.bus} answers: bus {identity.id}, {config.profile.name}")


def _check_interpreter(config: RunnerConfig) -> Finding:
    pin = pin_path(config)
    promise = ", ".join(promised_modules(config.local_labels)) or "nothing beyond Python"
    if pin.is_file():
        path = python_of(config, pin)
        return Finding("interpreter", OK, f"{path}, as pinned; the labels promise {promise}")
    found = choose_interpreter(candidates(config.python, ""), config.local_labels)
    text = f"{found.path} (Python {found.version}), not pinned; the labels promise {promise}"
    return Finding("interpreter", OK, text)


def _check_service(config: RunnerConfig, around: Surroundings) -> Iterator[Finding]:
    state, process = around.service, find_process(config.state_dir)
    said = f"service {state.active}" + (
        f", last exit code {state.exit_code}" if state.exit_code else ""
    )
    if process is not None:
        yield Finding("service", OK, f"{said}; process {process.pid} serves")
    elif state.active == "failed":
        meaning = {2: " (a setting)", 4: " (refused)"}.get(state.exit_code or 0, "")
        unit = "--user " if around.scope == "user" else ""
        log = f"journalctl {unit}-u kakeya-remote-{config.name} -n 30"
        if around.system == MACOS:
            log = f"tail ~/Library/Logs/kakeya_remote/{config.name}.log*"
        yield Finding(
            "service",
            FAULT,
            f"{said}{meaning}, and nobody serves",
            f"read why: {log}; mend it, then: kakeya_remote runner install",
        )
    else:
        remedy = "kakeya_remote runner install, or runner start"
        yield Finding("service", WARNING, f"{said}; nobody serves", remedy)
    lingers = around.system != LINUX or (_LINGER / around.user).exists()
    if state.active != "absent" and around.scope == "user" and not lingers:
        yield Finding(
            "lingering",
            WARNING,
            f"off for {around.user}: the runner stops at log-out and does not start with the "
            "machine",
            f"sudo loginctl enable-linger {around.user}",
        )


def _check_folders(config: RunnerConfig, around: Surroundings) -> Iterator[Finding]:
    if around.system != MACOS:
        return
    for path in (config.trusted, config.state_dir, config.cache_dir, config.assets_dir):
        if any(path.is_relative_to(around.home / name) for name in _HIDDEN):
            yield Finding(
                "folders",
                FAULT,
                f"{path}: macOS does not let a service read there",
                "move it out of Documents, Desktop and Downloads, best below ~/kakeya",
            )


def unreadable_settings(error: KakeyaError) -> tuple[Finding, ...]:
    """The one finding where the settings themselves cannot be used."""
    return (Finding("settings", FAULT, str(error), error.remedy or "see docs/operators.md"),)
