"""An installed runner: put in place, looked at, moved to a new version, taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.clock import Clock
from bridge.errors import KakeyaError, UsageError
from bridge.git import Git
from bridge.git.advance import fast_forward
from bridge.runner.config import RunnerConfig
from bridge.runner.service.apply import ServiceState, apply_plan, require_manager, service_state
from bridge.runner.service.install import Owner, make_pin, make_spec, pin_path
from bridge.runner.service.interpreter import Pin, write_pin
from bridge.runner.service.plan import MACOS, Plan, plan_install, plan_restart, plan_uninstall
from bridge.runner.service.process import drain, find_process
from bridge.runner.service.spec import ServiceSpec

PACKAGE_FILES = ("pyproject.toml", "constraints.txt")


@dataclass(frozen=True, slots=True)
class Service:
    """One runner as a service of this machine.

    Attributes:
        config: the runner's settings.
        config_path: where they lie.
        scope: `user` or `system`.
        system: as `sys.platform` says it.
        owner: who it runs as.
        env: this process's environment.
        say: told what is done.
    """

    config: RunnerConfig
    config_path: Path
    scope: str
    system: str
    owner: Owner
    env: Mapping[str, str]
    say: Callable[[str], None]

    @property
    def spec(self) -> ServiceSpec:
        """What is rendered."""
        return make_spec(
            self.config,
            self.config_path,
            scope=self.scope,
            system=self.system,
            owner=self.owner,
            env=self.env,
        )

    def plan(self, *, start: bool = True) -> Plan:
        """What an installation does."""
        return plan_install(self.spec, self.system, self.owner.uid, start=start)

    def install(self, *, start: bool = True) -> Pin:
        """Pin the interpreter, write the service, start it; a second time changes what differs.

        Raises:
            MissingPartError: no service manager, or no interpreter keeps the labels' promise.
            ExecutorError: the service manager refuses.
        """
        require_manager(self.system)
        spec, pin = self.spec, make_pin(self.config)
        folders = [spec.state_dir, *([spec.log.parent] if spec.log else [])]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        write_pin(spec.pin, pin)
        self.owner.own(*folders, spec.pin)
        self.say(f"jobs run with {pin.jobs.path} (Python {pin.jobs.version})")
        apply_plan(self.plan(start=start), self.say)
        return pin

    def uninstall(self) -> None:
        """Stop the service and remove it; the settings, the state and the key stay."""
        require_manager(self.system)
        apply_plan(plan_uninstall(self.spec, self.system, self.owner.uid), self.say)
        pin_path(self.config).unlink(missing_ok=True)

    def state(self) -> ServiceState:
        """What the service manager says; `absent` where there is no manager."""
        try:
            require_manager(self.system)
            return service_state(self.config.name, self.scope, self.system, self.owner.uid)
        except KakeyaError:
            return ServiceState("absent")

    def upgrade(self, revision: str | None, *, drain_s: float, clock: Clock) -> tuple[str, str]:
        """Move the trusted checkout forward, drain, and start anew; what still runs is adopted.

        Args:
            revision: where to; the branch's upstream if None.
            drain_s: how long held jobs may take to end before the runner is stopped beside them.
            clock: time.

        Returns:
            The trusted commits before and after.

        Raises:
            UsageError: the runner is not installed, or the checkout cannot be moved forward.
            MissingPartError: the new version asks for other packages.
        """
        if self.state().active == "absent":
            raise UsageError("is not installed", where=self.config.name, remedy="runner install")
        before, after = self._advance(revision)
        self.say(f"trusted commit: {before[:12]} -> {after[:12]}")
        write_pin(pin_path(self.config), make_pin(self.config))
        self.owner.own(pin_path(self.config))
        if find_process(self.config.state_dir) is not None:
            ended = drain(
                self.config.state_dir,
                limit_s=drain_s,
                pause=clock.pause,
                now_s=clock.monotonic_s,
            )
            self.say("drained" if ended else f"jobs still run after {drain_s:g} s: they go on")
        if self.system == MACOS:
            apply_plan(self.plan(start=False), self.say)
            plan = plan_restart(self.config.name, self.scope, self.system, self.owner.uid)
            apply_plan(plan, self.say)
        else:  # the installation ends with a restart
            apply_plan(self.plan(), self.say)
        return before, after

    def _advance(self, revision: str | None) -> tuple[str, str]:
        git = Git.find(self.config.trusted)
        if git is None:
            raise UsageError("is no git checkout", where=str(self.config.trusted))
        try:
            old = {name: _blob(git, "HEAD", name) for name in PACKAGE_FILES}
            before, after = fast_forward(git, revision)
            moved = [name for name in PACKAGE_FILES if _blob(git, after, name) != old[name]]
        finally:
            git.close()
        if moved:
            self.say(
                f"note: {' and '.join(moved)} changed; if the runner does not start: "
                "pip install -c constraints.txt -e '.[reports,workloads]' there"
            )
        return before, after

    def as_json(self) -> dict[str, Any]:
        """The state as `runner status --json` prints it."""
        state, process = self.state(), find_process(self.config.state_dir)
        return {
            "schema": "kakeya.service/1",
            "name": self.config.name,
            "bus": self.config.bus,
            "labels": list(self.config.labels),
            "scope": self.scope,
            "service": state.active,
            "exit_code": state.exit_code,
            "restarts": state.restarts,
            "pid": None if process is None else process.pid,
            "since": None if process is None else int(process.create_time()),
            "pinned": str(pin_path(self.config)) if pin_path(self.config).is_file() else None,
            "config": str(self.config_path),
            "user": self.owner.name,
        }


def _blob(git: Git, revision: str, name: str) -> str | None:
    commit = git.resolve(revision)
    entry = git.list_files(commit, name).get(name) if commit else None
    return entry[1] if entry else None
