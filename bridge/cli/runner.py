"""`kakeya_remote runner`: serve a bus with this machine."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.runner.config import RunnerConfig
    from bridge.runner.daemon import Runner


@click.group("runner")
def runner_group() -> None:
    """Serve a bus: claim allowed requests, run them, commit evidence back.

    \b
    Example:
      kakeya_remote runner start --bus /srv/bus.git --label mac-m4
    """


def runner_options(command: Any) -> Any:
    """The options that say which runner is meant, by its file or by flags."""
    decorators = [
        click.option("--config", type=click.Path(path_type=Path), help="The runner's own file."),
        click.option("--bus", metavar="URL|DIR", help="The git remote to serve."),
        click.option("--name", help="This runner's name on the bus; default: the host's name."),
        click.option("--label", "labels", multiple=True, help="A label it has; may be repeated."),
        click.option(
            "--executor",
            "executors",
            multiple=True,
            metavar="NAME",
            help="An executor it offers, with its defaults; may be repeated.",
        ),
        click.option("--profile", type=click.Choice(["local", "self-hosted", "github"])),
        click.option(
            "--trusted",
            type=click.Path(path_type=Path),
            help="The checkout whose commit decides what may run; default: the one you are in.",
        ),
        click.option("--allow-edits", is_flag=True, help="Run although that checkout is edited."),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@runner_group.command("start")
@runner_options
@click.option("--with-parent", is_flag=True, hidden=True, help="End when the starter is gone.")
@click.option("--pin", type=click.Path(path_type=Path), hidden=True, help="Of an installation.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Talk to a file that rotates.")
def start_command(with_parent: bool, **given: Any) -> None:
    """Serve until told to stop.

    SIGTERM or Ctrl-C drains: held jobs are finished, nothing new is claimed. A second one, or
    SIGQUIT, stops now; jobs that still run are found again by the next start.

    \b
    Example:
      kakeya_remote runner start --bus /srv/bus.git --label any --label mac-m4
    """
    import os

    from bridge.runner.service.notice import open_notice
    from bridge.runner.service.process import note_process

    runner = _open(given)
    parent = os.getppid()
    stopping, notice = Stopping(runner), open_notice()

    def stop() -> bool:
        notice.beat()
        return stopping.now or (with_parent and os.getppid() != parent)

    try:
        runner.open()
        note_process(runner.config.state_dir)
        notice.ready()
        runner.run(stop)
        notice.stopping("drained" if runner.idle else "jobs go on, the next start adopts them")
        if with_parent:  # nobody will start this runner again to find what still runs
            runner.cancel_all(limit_s=15.0)
    finally:
        notice.close()
        runner.close()


@runner_group.command("once")
@runner_options
@click.option("--timeout", "timeout_s", default=30.0, show_default=True, help="Seconds to wait.")
@click.option("--job", "job_id", metavar="ID", help="Run this job and no other.")
def once_command(timeout_s: float, job_id: str | None, **given: Any) -> None:
    """Run one job and end; 7 if none came within the time.

    With --job the exit code is that job's, as `wait` gives it, or 8 where another runner has it;
    SIGTERM or Ctrl-C cancels it.

    \b
    Examples:
      kakeya_remote runner once --bus https://git.example/lab/bus.git --timeout 60
      kakeya_remote runner once --job 01JMG19Y00ABCDEFGHJKMNPQRS --executor actions
    """
    from bridge.errors import ExitCode

    job = _check_id(job_id) if job_id else None
    runner = _open(given)
    stopping = Stopping(runner) if job else None
    try:
        runner.open()
        ended = runner.run_once(
            timeout_s=timeout_s,
            job_id=job,
            stop=lambda: stopping is not None and stopping.asked,
        )
    finally:
        runner.close()
    code = _exit_code_of(runner.config, job) if job else None
    raise SystemExit(int(code or (ExitCode.DONE if ended else ExitCode.NO_RUNNER)))


def _check_id(text: str) -> str:
    from bridge.canonical import is_ulid
    from bridge.errors import UsageError

    if not is_ulid(text.upper()):
        raise UsageError(f"{text!r} is no job id", where="--job")
    return text.upper()


def _exit_code_of(config: RunnerConfig, job: str) -> int:
    """The exit code that stands for where a job is now; what keeps it waiting is told."""
    from bridge.cli.output import say
    from bridge.client import Client
    from bridge.client.outcomes import exit_code_of
    from bridge.errors import ExitCode

    with Client.open(config.bus, root=config.refs.root, profile=config.profile.name) as client:
        status = client.status(job)
        if status.result is not None:
            verdict = f", verdict {status.verdict}" if status.verdict else ""
            say(f"{job}: {status.state}{verdict}")
            return int(exit_code_of(status.result))
        if status.runner != config.name and status.state not in (None, "queued"):
            say(f"{job}: another runner, {status.runner}, has it")
            return int(ExitCode.STILL_RUNNING)
    say(f"{job}: {status.state}; what kept this runner from it: kakeya_remote why {job}")
    return int(ExitCode.NO_RUNNER)


class Stopping:
    """What signals ask of a runner: the first one to drain, the second one to stop now."""

    def __init__(self, runner: Runner) -> None:
        self.now = self.asked = False
        self._runner = runner
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGQUIT, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.now = self.asked or number == signal.SIGQUIT
        self.asked = True
        self._runner.draining = True


def _open(given: dict[str, Any]) -> Runner:
    from dataclasses import replace

    from bridge.bus.remote import GitBus
    from bridge.runner.campaigns import CampaignThread
    from bridge.runner.daemon import Runner
    from bridge.runner.key import choose_key
    from bridge.runner.trust import open_trust

    say = _open_talk(given.get("log_file"))
    config = load_runner(given)
    if given.get("pin") is not None:
        from bridge.runner.service.install import python_of

        config = replace(config, python=python_of(config, given["pin"]))
    trust = open_trust(
        config.trusted,
        config.trusted_commit,
        config.state_dir,
        allow_edits=config.allow_edits,
    )
    keyring = replace(trust.keyring, required=config.require_enrolled)
    key = choose_key(config.state_dir, config.name, keyring)
    bus = GitBus(
        config.bus,
        config.cache_dir,
        refs=config.refs,
        profile=config.profile,
        fast=config.fast_path,
        keyring=keyring,
    )
    if trust.edited:
        say(
            f"note: {len(trust.edited)} files of the running program differ from commit "
            f"{trust.commit[:12]}; records say so"
        )
    enrolled = config.name if key.fingerprint in keyring.names else "nobody: runner enroll"
    say(f"signs with {key.fingerprint}, enrolled as {enrolled}")
    campaigns = CampaignThread(config, trust, key, say)
    return Runner(config, trust, bus, key=key, say=say, campaigns=campaigns)


def _open_talk(log_file: Path | None) -> Callable[[str], None]:
    if log_file is not None:
        from bridge.runner.service.logfile import open_log

        return open_log(log_file)
    from bridge.cli.output import say

    return say


def load_runner(given: dict[str, Any]) -> RunnerConfig:
    """The settings of the runner that the options name."""
    from bridge.runner.config import default_config_path, load_config, parse_config

    overrides: dict[str, Any] = {key: given[key] for key in ("bus", "name", "profile")}
    overrides["labels"] = list(given["labels"]) or None
    overrides["executors"] = {name: {} for name in given["executors"]} or None
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if "bus" in overrides:
        overrides["bus"] = _absolute(overrides["bus"])
    if given["trusted"] is not None or given["allow_edits"]:
        checkout = Path(given["trusted"] or ".").absolute()
        overrides["trusted"] = {"checkout": str(checkout), "allow_edits": given["allow_edits"]}
    path = given["config"] or default_config_path()
    if given["config"] is not None or path.is_file():
        return load_config(path, overrides)
    return parse_config(
        {**host_defaults(), **overrides}, where="command line (no settings file)", base=Path.cwd()
    )


def host_defaults() -> dict[str, Any]:
    """Name, trusted checkout and bus where nobody gave them."""
    import os
    import socket

    from bridge.client.settings import load_settings
    from bridge.git import Git

    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:40] or "runner"
    git = Git.find(Path.cwd())
    checkout = git.path.parent if git is not None else None
    settings = load_settings({}, os.environ, folder=Path.cwd(), checkout=checkout)
    defaults: dict[str, Any] = {"name": host, "trusted": {"checkout": str(checkout or Path.cwd())}}
    if settings.bus is not None:
        defaults["bus"] = settings.bus
        defaults["root"] = settings.refs.root
    defaults["require_enrolled"] = settings.require_enrolled
    return defaults


def _absolute(bus: str) -> str:
    from bridge.client.settings import absolute_bus

    return absolute_bus(bus, Path.cwd())
