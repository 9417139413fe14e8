"""`kakeya_remote wait`: follow a job to its end and exit by its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client, resume_hint
from bridge.cli.output import print_json, print_line, say
from bridge.cli.watching import make_watcher
from bridge.errors import BusError, ExitCode

if TYPE_CHECKING:
    from bridge.client import Client, Outcome


@click.command("wait")
@click.argument("job_id", metavar="ID")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Bounds the waiting.")
@bus_options()
def wait_command(job_id: str, timeout_s: float | None, **given: Any) -> None:
    """Wait for a job; the exit code is its verdict.

    Ctrl-C, or the end of --timeout, ends the waiting alone: the job goes on.

    \b
    Example:
      kakeya_remote wait 01JMG19Y00ABCDEFGHJKMNPQRS --timeout 600 --json
    """
    shared = merge_shared(given)
    watcher = make_watcher(quiet=shared["as_json"])
    with open_client(shared, watcher) as client:
        follow(client, job_id, timeout_s, shared)


def follow(
    client: Client,
    job_id: str,
    timeout_s: float | None,
    shared: dict[str, Any],
) -> None:
    """Wait, tell the outcome, and end the command with its exit code."""
    try:
        outcome = client.wait(job_id, timeout_s)
    except KeyboardInterrupt:
        say("\ndetached: " + ("the job was cancelled" if shared["embedded"] else "the job goes on"))
        say(f"resume: {resume_hint(job_id, shared)}")
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
    record = read_record(client, outcome)
    if shared["as_json"]:
        hint = hint_of(outcome, shared)
        print_json({**outcome.as_json(), "gates": gates_of(record), "resume": hint})
    else:
        show(outcome, record, shared)
    raise SystemExit(int(outcome.exit_code))


def hint_of(outcome: Outcome, shared: dict[str, Any]) -> str:
    """The command that goes on, empty where there is nothing to wait for."""
    return resume_hint(outcome.status.id, shared) if outcome.resume else ""


def gates_of(record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Each gate's id and verdict; empty where there is no record of the usual shape."""
    rows = record.get("gates") if record else None
    names = ("id", "verdict", "blocking", "message")
    return [
        {name: row.get(name) for name in names}
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]


def read_record(client: Client, outcome: Outcome) -> Mapping[str, Any] | None:
    """The evidence of an ended job; a bus that fails now takes nothing from the outcome."""
    if not outcome.status.ended:
        return None
    try:
        return client.evidence(outcome.status.id)
    except BusError as error:
        say(f"note: the evidence could not be fetched: {error}")
        return None


def show(outcome: Outcome, record: Mapping[str, Any] | None, shared: dict[str, Any]) -> None:
    """The outcome for a person: the gates on stdout, the rest as talk."""
    from bridge.cli.results import print_evidence

    print_evidence(record)
    print_line(outcome.message)
    for line in outcome.details:
        say(f"  {line}")
    if outcome.status.standing is not None and not shared["embedded"]:
        say(str(outcome.status.standing))
    if outcome.resume:
        say(f"resume: {hint_of(outcome, shared)}")
    elif outcome.status.ended:
        say(f"files: kakeya_remote results {outcome.status.id}")
