"""What is done to a machine, as a value: files written or removed, commands run. Pure.

`--dry-run` prints it, the tests compare it, `apply` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge.runner.service.launchd import domain_of, label_of, plist_path, render_plist
from bridge.runner.service.spec import ServiceSpec
from bridge.runner.service.systemd import render_unit, unit_name, unit_path

LINUX, MACOS = "linux", "darwin"
"""As `sys.platform` says it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        argv: the command.
        remedy: what to do by hand where it fails.
        needed: whether a failure ends the plan; else it is told as a note.
        quiet: a failure means that there was nothing to do.
    """

    argv: tuple[str, ...]
    remedy: str = ""
    needed: bool = True
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Commands before, then files, then commands after."""

    before: tuple[Step, ...] = ()
    files: Mapping[Path, bytes] = field(default_factory=dict)
    removed: tuple[Path, ...] = ()
    after: tuple[Step, ...] = ()

    def as_text(self) -> str:
        """The plan for a person, each file whole."""
        lines = [f"run: {' '.join(step.argv)}" for step in self.before]
        for path, data in self.files.items():
            lines += [f"write: {path}", *(f"  {line}" for line in data.decode().splitlines())]
        lines += [f"remove: {path}" for path in self.removed]
        lines += [f"run: {' '.join(step.argv)}" for step in self.after]
        return "\n".join(lines)


def plan_install(spec: ServiceSpec, system: str, uid: int, *, start: bool = True) -> Plan:
    """Install the service, and start it; what was installed before is replaced.

    Args:
        spec: the service.
        system: `LINUX` or `MACOS`.
        uid: number of the user that it runs as, for launchd's domain.
        start: start it now; else at the next boot or log-in.
    """
    if system == MACOS:
        target = f"{domain_of(spec.scope, uid)}/{label_of(spec.name)}"
        load = _launchctl("bootstrap", domain_of(spec.scope, uid), str(plist_path(spec)))
        enable = _launchctl("enable", target)
        stop = Step(("launchctl", "bootout", target), quiet=True, needed=False)
        return Plan(
            before=(stop,) if start else (),
            files={plist_path(spec): render_plist(spec)},
            after=(enable, load) if start else (enable,),
        )
    unit = unit_name(spec.name)
    after = [_systemctl(spec.scope, "daemon-reload"), _systemctl(spec.scope, "enable", unit)]
    after += [_linger(spec.user)] if spec.scope == "user" else []
    after += [_systemctl(spec.scope, "restart", unit)] if start else []
    return Plan(files={unit_path(spec): render_unit(spec).encode()}, after=tuple(after))


def plan_uninstall(spec: ServiceSpec, system: str, uid: int) -> Plan:
    """Stop the service and remove it; settings, state and key stay."""
    if system == MACOS:
        target = f"{domain_of(spec.scope, uid)}/{label_of(spec.name)}"
        stop = Step(("launchctl", "bootout", target), quiet=True, needed=False)
        return Plan(before=(stop,), removed=(plist_path(spec),))
    unit = unit_name(spec.name)
    argv = (*_control(spec.scope), "disable", "--now", unit)
    return Plan(
        before=(Step(argv, quiet=True, needed=False),),
        removed=(unit_path(spec),),
        after=(_systemctl(spec.scope, "daemon-reload"),),
    )


def plan_restart(name: str, scope: str, system: str, uid: int) -> Plan:
    """Start the installed service anew; jobs that run go on and are adopted."""
    if system == MACOS:
        target = f"{domain_of(scope, uid)}/{label_of(name)}"
        return Plan(after=(_launchctl("kickstart", "-k", target),))
    return Plan(after=(_systemctl(scope, "restart", unit_name(name)),))


def _control(scope: str) -> tuple[str, ...]:
    return ("systemctl",) if scope == "system" else ("systemctl", "--user")


def _systemctl(scope: str, *words: str) -> Step:
    journal = "journalctl" if scope == "system" else "journalctl --user"
    unit = f" -u {words[1]}" if len(words) > 1 else ""
    return Step((*_control(scope), *words), remedy=f"read its log: {journal}{unit} -n 50")


def _linger(user: str) -> Step:
    return Step(
        ("loginctl", "enable-linger", user),
        remedy=f"sudo loginctl enable-linger {user}; without it the runner stops at log-out",
        needed=False,
    )


def _launchctl(*words: str) -> Step:
    return Step(("launchctl", *words), remedy=f"launchctl print {words[-1]} says more")
