"""`kakeya_remote doctor`: what is wrong here, and what to do, for three kinds of person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table
from bridge.errors import ExitCode, KakeyaError

if TYPE_CHECKING:
    from bridge.findings import Finding
    from bridge.runner.service.control import Service


@click.command("doctor")
@bus_options()
@click.option(
    "--for",
    "person",
    type=click.Choice(["agent", "operator", "reviewer"]),
    default="agent",
    show_default=True,
    help="Who asks: it decides what is looked at.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Of an operator: the runner's file."
)
@click.option(
    "--system/--user", "system", default=None, help="Of an operator: the service's scope."
)
def doctor_command(person: str, **given: Any) -> None:
    """Look for what is wrong on this machine, and say what to do about it.

    An agent asks why its jobs do not move, an operator whether this machine can serve, a reviewer
    whether what the records say can be believed here. Ends 1 if a fault is found.

    \b
    Examples:
      kakeya_remote doctor --bus /srv/git/kakeya-bus.git
      kakeya_remote doctor --for operator
      kakeya_remote doctor --for reviewer --json
    """
    from bridge.findings import is_healthy

    shared = merge_shared(given)
    findings = _EXAMINATIONS[person](shared, given)
    if shared["as_json"]:
        from bridge.findings import as_json

        print_json({**as_json(findings), "for": person})
    else:
        _show(findings)
    if not is_healthy(findings):
        raise SystemExit(int(ExitCode.INTERNAL))


def _show(findings: tuple[Finding, ...]) -> None:
    print_table("", ("", "check", "found"), [(one.level, one.check, one.text) for one in findings])
    for one in findings:
        if one.remedy:
            print_line(f"{one.level}: {one.check}: {one.remedy}")


def _examine_agent(shared: Mapping[str, Any], _given: Mapping[str, Any]) -> tuple[Finding, ...]:
    from bridge.client import doctor

    with open_client(dict(shared)) as client:
        return doctor.examine(client)


def _examine_operator(shared: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Finding, ...]:
    from bridge.cli.service import NO_FLAGS, open_service
    from bridge.runner import health

    flags = {"bus": shared["bus"], "profile": shared["profile"]}
    try:
        service = open_service({**NO_FLAGS, **given, **flags})
    except KakeyaError as error:
        return health.unreadable_settings(error)
    return examine_machine(service)


def examine_machine(service: Service) -> tuple[Finding, ...]:
    """What an operator's doctor finds on this machine."""
    from bridge.clock import Clock
    from bridge.runner import health

    around = health.Surroundings(
        system=service.system,
        home=service.owner.home,
        user=service.owner.name,
        scope=service.scope,
        service=service.state(),
        wall_s=Clock().wall_s,
    )
    from bridge.client import github_guard

    guards = github_guard.examine(service.config.bus)
    return (*health.examine(service.config, around), *guards)


def _examine_reviewer(_shared: Mapping[str, Any], _given: Mapping[str, Any]) -> tuple[Finding, ...]:
    from bridge.client import reviewer

    return reviewer.examine(Path.cwd())


_EXAMINATIONS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[Finding, ...]]] = {
    "agent": _examine_agent,
    "operator": _examine_operator,
    "reviewer": _examine_reviewer,
}
