"""`kakeya_remote setup`: a fresh machine into a runner, by one command that may be repeated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.output import print_json, print_line, say
from bridge.cli.runner import runner_options
from bridge.cli.service import NO_FLAGS, open_service
from bridge.errors import ExitCode, MissingPartError

if TYPE_CHECKING:
    from bridge.runner.service.control import Service

INSTALL_S = 3600.0


class Report:
    """The steps taken, told as they are taken."""

    def __init__(self) -> None:
        self.steps: list[dict[str, str]] = []

    def add(self, step: str, state: str, text: str) -> None:
        """One step: `done`, `kept` (it was so already), `left` or `failed`."""
        self.steps.append({"step": step, "state": state, "text": text})
        say(f"{step:<9} {state:<6} {text}")


@click.command("setup")
@runner_options
@click.option("--system/--user", "system", default=None, help="Of the machine, or of the user.")
@click.option("--no-service", is_flag=True, help="Install no service; the self-test has a runner.")
@click.option("--no-packages", is_flag=True, help="Install no packages that the labels promise.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def setup_command(no_service: bool, no_packages: bool, as_json: bool, **given: Any) -> None:
    """Make this machine a runner, and prove it by a job through the bus.

    Packages, settings, bus, key, service, doctor, self-test: each step looks first and changes
    only what is missing, so that the command may be repeated. Ends as the self-test's job does.

    \b
    Examples:
      kakeya_remote setup --bus git@git.example:lab/bus.git
      kakeya_remote setup --bus /srv/bus.git --label any --no-service
    """
    from bridge.cli.selftest import run_probe

    report = Report()
    service = _settle(given, report)
    _provide_packages(service, report, skip=no_packages)
    _found_bus(service, report)
    _make_key(service, report)
    _install(service, report, skip=no_service)
    healthy = _examine(service, report)
    outcome = run_probe(service.config, service.config_path, say)
    well = outcome.exit_code is ExitCode.DONE
    report.add("self-test", "done" if well else "failed", outcome.message)
    code = ExitCode.INTERNAL if well and not healthy else outcome.exit_code
    if as_json:
        told = {"steps": report.steps, "job": outcome.status.id, "verdict": outcome.verdict}
        print_json({"schema": "kakeya.setup/1", **told, "exit_code": int(code)})
    else:
        print_line(outcome.status.id)
    raise SystemExit(int(code))


def _settle(given: dict[str, Any], report: Report) -> Service:
    from bridge.cli.service import settings_path

    path = settings_path(given)
    there = path.is_file()
    if there:  # what the flags said the first time stands in the file
        given = {**NO_FLAGS, "config": path, "system": given["system"]}
    service = open_service(given, write=True)
    config = service.config
    text = f"{path}: runner {config.name}, labels {', '.join(config.labels)}, bus {config.bus}"
    report.add("settings", "kept" if there else "done", text)
    return service


def _provide_packages(service: Service, report: Report, *, skip: bool) -> None:
    """Install what the labels promise into this environment, unless a Python here has it."""
    from bridge import proc
    from bridge.runner.service.install import make_pin
    from bridge.runner.service.interpreter import extras_for

    try:
        pin = make_pin(service.config)
    except MissingPartError as error:
        if skip:
            raise
        lacking = "; ".join(error.problems)
    else:
        report.add("packages", "kept", f"{pin.jobs.path} has what the labels promise")
        return
    extras = ",".join(extras_for(service.config.local_labels))
    say(f"packages  ...    {lacking}: installing [{extras}], this takes minutes")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "-c", "constraints.txt"]
    env = proc.base_env() | {key: service.env[key] for key in service.env if _is_pips(key)}
    done = proc.run(
        [*pip, "--editable", f".[{extras}]"],
        cwd=service.config.trusted,
        env=env,
        timeout_s=INSTALL_S,
    )
    if done.code:
        raise MissingPartError(
            f"pip could not install [{extras}]: {done.stderr.decode('utf-8', 'replace')[-500:]}",
            where=str(service.config.trusted),
            remedy="install it by hand in this environment, then setup again",
        )
    report.add("packages", "done", f"installed [{extras}] for {make_pin(service.config).jobs.path}")


def _is_pips(name: str) -> bool:
    return name.startswith("PIP_") or name.lower().endswith("_proxy")


def _found_bus(service: Service, report: Report) -> None:
    from bridge.client import Client
    from bridge.client.founding import prepare_server

    config = service.config
    if config.bus.startswith("/"):
        prepare_server(Path(config.bus))
    root, profile = config.refs.root, config.profile.name
    with Client.open(config.bus, root=root, profile=profile, folder=config.trusted) as client:
        founded = client.found()
    state = "done" if founded.created else "kept"
    report.add("bus", state, f"{founded.bus}, id {founded.identity.id}")


def _make_key(service: Service, report: Report) -> None:
    from bridge.runner.key import load_key

    there = (service.config.state_dir / "key").exists()
    key = load_key(service.config.state_dir, service.config.name)
    service.owner.own(service.config.state_dir, service.config.state_dir / "key")
    report.add("key", "kept" if there else "done", f"{key.public}")


def _install(service: Service, report: Report, *, skip: bool) -> None:
    if skip:
        report.add("service", "left", "none is wanted: kakeya_remote runner start")
        return
    try:
        service.install()
    except MissingPartError as error:
        if error.where not in ("systemctl", "launchctl"):
            raise
        report.add("service", "left", f"{error.message}; {error.remedy}")
        return
    report.add("service", "done", f"{service.state().active}: kakeya_remote runner status")


def _examine(service: Service, report: Report) -> bool:
    """Whether the doctor finds no fault; each fault is told with its remedy."""
    from bridge.cli.doctor import examine_machine
    from bridge.findings import FAULT, is_healthy

    findings = examine_machine(service)
    for one in findings:
        if one.level == FAULT:
            report.add("doctor", "failed", f"{one.check}: {one.text}; {one.remedy}")
    if is_healthy(findings):
        report.add("doctor", "done", "no fault: kakeya_remote doctor --for operator")
    return is_healthy(findings)
