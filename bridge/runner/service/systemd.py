"""A runner as a systemd unit. Source: systemd.service(5), systemd.kill(5), sd_notify(3)."""

from __future__ import annotations

from pathlib import Path

from bridge.runner.service.spec import STOP_S, ServiceSpec

PREVENT_RESTART = (2, 4)
"""Exit codes that a person must mend (usage, refused): starting again would only fill the log."""


def unit_name(name: str) -> str:
    """The unit's file name."""
    return f"kakeya-remote-{name}.service"


def unit_path(spec: ServiceSpec) -> Path:
    """Where the unit's file belongs."""
    if spec.scope == "system":
        return Path("/etc/systemd/system") / unit_name(spec.name)
    return spec.home / ".config" / "systemd" / "user" / unit_name(spec.name)


def render_unit(spec: ServiceSpec) -> str:
    """The unit's text.

    `KillMode=process`: a stop or restart ends the runner alone; each job lives on under its own
    supervisor and is adopted by the next start. `OOMPolicy=continue`: a job that the kernel kills
    for want of memory does not take the runner with it.
    """
    system = spec.scope == "system"
    lines = ["[Unit]", f"Description=kakeya_remote runner {spec.name}"]
    lines += ["Wants=network-online.target", "After=network-online.target"] if system else []
    lines += ["StartLimitIntervalSec=0", "", "[Service]", "Type=notify", "NotifyAccess=main"]
    lines += [f"User={spec.user}"] if system else []
    environment = {"HOME": str(spec.home), **spec.env}
    lines += [f"Environment={_quote(f'{key}={value}')}" for key, value in environment.items()]
    lines += [
        f"WorkingDirectory={_escape(str(spec.state_dir))}",
        "ExecStart=" + " ".join(_quote(word, command=True) for word in spec.argv),
        "UMask=0077",
        "Restart=on-failure",
        "RestartSec=10",
        f"RestartPreventExitStatus={' '.join(map(str, PREVENT_RESTART))}",
        f"TimeoutStartSec={spec.start_s}",
        f"WatchdogSec={spec.watchdog_s}",
        "WatchdogSignal=SIGABRT",
        "KillMode=process",
        "KillSignal=SIGTERM",
        "RestartKillSignal=SIGQUIT",
        f"TimeoutStopSec={STOP_S}",
        "OOMPolicy=continue",
        "",
        "[Install]",
        f"WantedBy={'multi-user' if system else 'default'}.target",
    ]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Text that systemd takes as it is; a percent sign begins a specifier."""
    return text.replace("%", "%%")


def _quote(word: str, *, command: bool = False) -> str:
    """One word in double quotes; in a command a dollar sign begins a variable."""
    text = _escape(word).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text.replace("$", "$$") if command else text}"'
