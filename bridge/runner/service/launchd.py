"""A runner as a launchd agent or daemon. Source: launchd.plist(5), launchctl(1)."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

from bridge.runner.service.spec import STOP_S, ServiceSpec

THROTTLE_S = 30
"""Least time between two starts of a runner that ends with an error."""


def label_of(name: str) -> str:
    """The service's label."""
    return f"kakeya-remote.{name}"


def plist_path(spec: ServiceSpec) -> Path:
    """Where the property list belongs: a daemon for the machine, an agent for the user."""
    root = Path("/") if spec.scope == "system" else spec.home
    folder = "LaunchDaemons" if spec.scope == "system" else "LaunchAgents"
    return root / "Library" / folder / f"{label_of(spec.name)}.plist"


def domain_of(scope: str, uid: int) -> str:
    """The launchd domain that the service lives in."""
    return "system" if scope == "system" else f"gui/{uid}"


def render_plist(spec: ServiceSpec) -> bytes:
    """The property list.

    `AbandonProcessGroup`: launchd otherwise kills whatever the runner leaves behind, jobs too.
    `KeepAlive` by exit status: a drained runner ends 0 and stays down. launchd has no watchdog of
    its own, so the runner is told to watch itself.
    """
    document: dict[str, Any] = {
        "Label": label_of(spec.name),
        "ProgramArguments": list(spec.argv),
        "WorkingDirectory": str(spec.state_dir),
        "EnvironmentVariables": {
            "HOME": str(spec.home),
            "KAKEYA_WATCHDOG_S": str(spec.watchdog_s),
            **spec.env,
        },
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": THROTTLE_S,
        "ExitTimeOut": STOP_S,
        "AbandonProcessGroup": True,
        "ProcessType": "Interactive",  # anything else slows the jobs down as well
        "Umask": 0o077,
        # what the runner says goes to its own rotated log; this is for what cannot even start
        "StandardErrorPath": f"{spec.log}.start" if spec.log else "/dev/null",
        "StandardOutPath": "/dev/null",
    }
    if spec.scope == "system":
        document["UserName"] = spec.user
    return plistlib.dumps(document, fmt=plistlib.FMT_XML, sort_keys=True)
