"""A plan carried out on this machine, and what the service manager says of a service."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge import proc
from bridge.errors import ExecutorError, MissingPartError
from bridge.runner.outbox import write_synced
from bridge.runner.service.launchd import domain_of, label_of
from bridge.runner.service.plan import MACOS, Plan, Step
from bridge.runner.service.systemd import unit_name

COMMAND_S = 900.0
"""A restart waits until the runner serves, and a stop until its jobs ended or the limit is over."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the service manager says.

    Attributes:
        active: `active`, `activating`, `inactive`, `failed`, or `absent` where it knows none.
        pid: the runner's process, None where there is none.
        exit_code: of the last process that ended.
        restarts: how often it was started again by itself, None where that is not told.
    """

    active: str
    pid: int | None = None
    exit_code: int | None = None
    restarts: int | None = None


def require_manager(system: str) -> None:
    """Make sure that this machine has the service manager.

    Raises:
        MissingPartError: it has none, as most containers.
    """
    program = "launchctl" if system == MACOS else "systemctl"
    if shutil.which(program) is None:
        raise MissingPartError(
            f"this machine has no {program}, so that there is no service to install",
            where=program,
            remedy="start the runner yourself, as in tmux: kakeya_remote runner start",
        )


def apply_plan(plan: Plan, say: Callable[[str], None]) -> None:
    """Carry out a plan; what fails and is not needed is told.

    Raises:
        ExecutorError: a needed command failed.
        MissingPartError: its program is not here.
    """
    for step in plan.before:
        _run(step, say)
    for path, data in plan.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(path, data)
        path.chmod(0o600)  # the environment in it may hold a proxy's password
        say(f"wrote {path}")
    for path in plan.removed:
        path.unlink(missing_ok=True)
        say(f"removed {path}")
    for step in plan.after:
        _run(step, say)


def service_state(name: str, scope: str, system: str, uid: int) -> ServiceState:
    """Ask the service manager; nothing is changed.

    Raises:
        MissingPartError: there is none.
    """
    if system == MACOS:
        target = f"{domain_of(scope, uid)}/{label_of(name)}"
        code, text = _ask(("launchctl", "print", target))
        return parse_launchd(text) if code == 0 else ServiceState("absent")
    words = ("systemctl",) if scope == "system" else ("systemctl", "--user")
    names = "LoadState,ActiveState,MainPID,ExecMainStatus,NRestarts"
    _, text = _ask((*words, "show", unit_name(name), f"--property={names}"))
    return parse_systemd(text)


def parse_systemd(text: str) -> ServiceState:
    """The state in the answer of `systemctl show`. Pure."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if found.get("LoadState") != "loaded":
        return ServiceState("absent")
    return ServiceState(
        active=found.get("ActiveState", "unknown"),
        pid=_number(found.get("MainPID")) or None,
        exit_code=_number(found.get("ExecMainStatus")),
        restarts=_number(found.get("NRestarts")),
    )


def parse_launchd(text: str) -> ServiceState:
    """The state in the answer of `launchctl print`. Pure."""
    found = dict(re.findall(r"^\s*(state|pid|last exit code|runs) = (.+?)\s*$", text, re.MULTILINE))
    running = found.get("state") == "running"
    code = _number(found.get("last exit code", "").partition(":")[0])
    active = "active" if running else "failed" if code else "inactive"
    runs = _number(found.get("runs"))
    pid = _number(found.get("pid")) if running else None
    return ServiceState(active, pid, code, None if runs is None else max(0, runs - 1))


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text.strip()) else None


def _run(step: Step, say: Callable[[str], None]) -> None:
    try:
        code, text = _ask(step.argv)
    except MissingPartError:
        if step.needed:
            raise
        code, text = 127, f"{step.argv[0]} is not installed"
    if code == 0 or step.quiet:
        return
    told = f"{' '.join(step.argv)}: {text.strip()[:300] or f'exit code {code}'}"
    if step.needed:
        raise ExecutorError(told, where="service", remedy=step.remedy)
    say(f"note: {told}; {step.remedy}")


def _ask(argv: tuple[str, ...]) -> tuple[int, str]:
    kept = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # where the user's manager listens
    env = proc.base_env() | {name: os.environ[name] for name in kept if name in os.environ}
    done = proc.run(argv, cwd=Path("/"), env=env, timeout_s=COMMAND_S)
    return done.code, (done.stdout + done.stderr).decode("utf-8", "replace")
