"""What a service is, whatever runs it: a value that systemd and launchd are rendered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge.bus.profile import Profile
from bridge.errors import UsageError

STOP_S = 90
"""How long a stop waits for held jobs; then the runner alone is killed, and the jobs go on."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One runner as a service.

    Attributes:
        name: the runner's name.
        scope: `user` (starts at log-in, or with the machine where lingering is on) or `system`.
        user: the OS user that it runs as.
        home: that user's home.
        python: the pinned interpreter, absolute; a link stays one, or a venv would be left.
        launcher: the file that checks the pin and starts the runner.
        pin: what was pinned at the installation.
        config: the runner's own file.
        state_dir: its working folder.
        log: file that the runner writes and rotates; None where the system keeps the log.
        watchdog_s: a runner whose loop stands still for so long is ended and started again.
        start_s: how long it may take until it serves.
        env: variables that it is given beside HOME.
    """

    name: str
    scope: str
    user: str
    home: Path
    python: Path
    launcher: Path
    pin: Path
    config: Path
    state_dir: Path
    log: Path | None
    watchdog_s: int
    start_s: int
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(str(self.python)) & set("$\"\\'"):
            raise UsageError(
                "a service's program may not have such a path: systemd knows no quoting for it",
                where=str(self.python),
                remedy="put the environment into a folder without $, quotes and backslashes",
            )
        for text in (*map(str, self._paths()), self.user, *self.env.values()):
            if not text.isprintable():
                raise UsageError(
                    "a service cannot be given this text",
                    where=ascii(text),
                    remedy="use a path without line breaks and control characters",
                )

    @property
    def argv(self) -> tuple[str, ...]:
        """The command of the service."""
        program = (str(self.python), "-I", str(self.launcher), str(self.pin))
        options = ("--config", str(self.config))
        logging = ("--log-file", str(self.log)) if self.log else ()
        return (*program, *options, *logging)

    def _paths(self) -> tuple[Path, ...]:
        paths = (self.home, self.python, self.launcher, self.pin, self.config, self.state_dir)
        return (*paths, self.log) if self.log else paths


def watchdog_s(profile: Profile) -> int:
    """How long a healthy loop may stand still: a few network calls that each end at their limit."""
    return int(4 * profile.network_timeout_s + 60)


def start_s(profile: Profile) -> int:
    """How long a start may take: another session's name is watched for two of its heartbeats."""
    return int(4 * profile.network_timeout_s + 4 * profile.heartbeat_s + 60)
