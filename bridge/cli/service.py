"""`kakeya_remote runner install` and its kin: a runner as a service of its machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.output import print_json, print_line, print_table, say
from bridge.cli.runner import host_defaults, load_runner, runner_group, runner_options

if TYPE_CHECKING:
    from bridge.runner.service.control import Service

_FLAGS = ("bus", "name", "profile", "labels", "executors", "trusted", "allow_edits")
NO_FLAGS: Mapping[str, Any] = {**dict.fromkeys(_FLAGS), "labels": (), "executors": ()}
"""The options of a runner where none is given."""


def _scope_options(command: Any) -> Any:
    system = click.option(
        "--system/--user", "system", default=None, help="Of the machine, or of the user's session."
    )
    return runner_options(system(command))


_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@runner_group.command("install")
@_scope_options
@click.option("--dry-run", is_flag=True, help="Print what would be written and run.")
@click.option("--no-start", is_flag=True, help="Start it at the next boot or log-in only.")
def install_command(dry_run: bool, no_start: bool, **given: Any) -> None:
    """Serve from now on and after every boot, as a service of this machine.

    systemd runs it on Linux, launchd on macOS. Jobs outlive a restart of the runner. Without a
    settings file one is written from the flags; labels are probed where none are given.

    \b
    Examples:
      kakeya_remote runner install --bus git@git.example:lab/bus.git --label any --label mac-m4
      kakeya_remote runner install --dry-run
    """
    service = open_service(given, write=not dry_run)
    if dry_run:
        print_line(service.plan(start=not no_start).as_text())
        return
    service.install(start=not no_start)
    say(f"runner {service.config.name} is installed: kakeya_remote runner status")


@runner_group.command("uninstall")
@_scope_options
def uninstall_command(**given: Any) -> None:
    """Stop the service and remove it; settings, key and state stay, jobs that run go on.

    \b
    Example:
      kakeya_remote runner uninstall
    """
    open_service(given).uninstall()


@runner_group.command("status")
@_scope_options
@_json_option
def status_command(as_json: bool, **given: Any) -> None:
    """Say whether this machine's runner serves; ends 1 where it does not.

    \b
    Example:
      kakeya_remote runner status --json
    """
    found = open_service(given).as_json()
    if as_json:
        print_json(found)
    else:
        shown = [(key, _tell(value)) for key, value in found.items() if key != "schema"]
        print_table("", ("", ""), shown)
        if found["pid"] is None:
            say("no runner serves here: kakeya_remote doctor --for operator looks for causes")
    if found["pid"] is None:
        raise SystemExit(1)


@runner_group.command("drain")
@_scope_options
@click.option("--timeout", "limit_s", default=3600.0, show_default=True, help="Seconds to wait.")
def drain_command(limit_s: float, **given: Any) -> None:
    """Let the runner finish what it holds and end; it claims nothing more.

    Ends 8 where jobs still run when the time is over; the runner goes on draining.

    \b
    Example:
      kakeya_remote runner drain --timeout 600
    """
    from bridge.clock import Clock
    from bridge.errors import ExitCode
    from bridge.runner.service.process import drain

    clock, config = Clock(), load_runner(given)
    if not drain(config.state_dir, limit_s=limit_s, pause=clock.pause, now_s=clock.monotonic_s):
        say(f"jobs still run after {limit_s:g} s")
        raise SystemExit(int(ExitCode.STILL_RUNNING))
    say("drained")


@runner_group.command("upgrade")
@_scope_options
@click.option("--to", "revision", metavar="COMMIT", help="Default: the branch's upstream.")
@click.option("--drain", "drain_s", default=60.0, show_default=True, help="Seconds for held jobs.")
def upgrade_command(revision: str | None, drain_s: float, **given: Any) -> None:
    """Move the trusted checkout forward, drain, and start the service anew.

    Jobs that still run after the drain go on, and the new version adopts them.

    \b
    Example:
      kakeya_remote runner upgrade --drain 600
    """
    from bridge.clock import Clock

    before, after = open_service(given).upgrade(revision, drain_s=drain_s, clock=Clock())
    print_line(f"{before} {after}")


def open_service(given: Mapping[str, Any], *, write: bool = False) -> Service:
    """The service that the options name; its settings file is written where `write` says so."""
    from bridge.runner.service.control import Service
    from bridge.runner.service.install import find_owner

    system = given["system"]
    scope = "system" if (os.geteuid() == 0 if system is None else system) else "user"
    owner = find_owner(scope, os.environ)
    os.environ["HOME"] = str(owner.home)  # behind sudo: the user's own files, not root's
    path = settings_path(given)
    if path.is_file():
        _refuse_flags(given, path)
    elif write:
        _write_settings(given, path)
        owner.own(path)
    config = load_runner({**NO_FLAGS, "config": path} if path.is_file() else dict(given))
    return Service(config, path, scope, sys.platform, owner, os.environ, say)


def settings_path(given: Mapping[str, Any]) -> Path:
    """Where the settings of the runner lie, or would lie."""
    from bridge.runner.config import default_config_path

    return Path(given["config"] or default_config_path()).absolute()


def _refuse_flags(given: Mapping[str, Any], path: Path) -> None:
    """Make sure that a service and its settings file say the same."""
    from bridge.errors import UsageError

    flags = [name for name in _FLAGS if given.get(name)]
    if flags:
        raise UsageError(
            f"--{flags[0].rstrip('s').replace('_', '-')} is not read by a service that has a "
            "settings file",
            where=str(path),
            remedy="change it in that file, or remove the file first",
        )


def _write_settings(given: Mapping[str, Any], path: Path) -> None:
    document = draft_settings(given)
    from bridge.runner.service.settings import write_settings

    write_settings(path, document)
    say(f"wrote {path}: labels {', '.join(document['labels'])}")


def draft_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new runner from flags, the checkout and what the machine is."""
    from bridge.errors import UsageError
    from bridge.runner.facts import describe_hardware
    from bridge.runner.service.interpreter import inspect_interpreter
    from bridge.runner.service.labels import probe_gpus, probe_labels
    from bridge.runner.service.settings import compose_settings

    named = {key: given[key] for key in ("bus", "name", "profile") if given.get(key)}
    document = {**host_defaults(), **named}
    if "bus" not in document:
        raise UsageError("no bus is named", where="settings", remedy="give --bus URL|DIR")
    hardware = describe_hardware()
    mlx = inspect_interpreter(sys.executable, ("mlx.core", "mlx_lm"))
    importable = [name for name in mlx.modules if name not in mlx.missing]
    checkout = Path(given.get("trusted") or document["trusted"]["checkout"]).absolute()
    more: dict[str, Any] = {key: document[key] for key in ("root", "profile") if key in document}
    if given.get("executors"):
        more["executors"] = {name: {} for name in given["executors"]}
    return compose_settings(
        name=document["name"],
        bus=_absolute(document["bus"]),
        labels=given.get("labels") or probe_labels(hardware, importable),
        checkout=checkout,
        gpus=probe_gpus(hardware),
        more=more,
    )


def _absolute(bus: str) -> str:
    from bridge.client.settings import absolute_bus

    return absolute_bus(bus, Path.cwd())


def _tell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
