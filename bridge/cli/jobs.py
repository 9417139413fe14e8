"""`kakeya_remote status`, `list`, `cancel` and `retry`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say
from bridge.cli.watching import describe, make_watcher
from bridge.states import State

if TYPE_CHECKING:
    from bridge.client.outcomes import JobStatus

_LIST_LIMIT = 50
_STATES = [state.value for state in State]


@click.command("status")
@click.argument("job_id", metavar="[ID]", required=False)
@bus_options()
def status_command(job_id: str | None, **given: Any) -> None:
    """Show where one job stands; without an ID, the runners of the bus.

    The age of a heartbeat is told by the date of its commit and this machine's clock.

    \b
    Examples:
      kakeya_remote status
      kakeya_remote status 01JMG19Y00ABCDEFGHJKMNPQRS --json
    """
    shared = merge_shared(given)
    if job_id is None:
        from bridge.cli.fleet import show_fleet

        show_fleet(shared)
        return
    with open_client(shared) as client:
        status = client.status(job_id)
    if shared["as_json"]:
        print_json(status.as_json())
        return
    for name, value in tell(status):
        print_line(f"{name:<10} {value}")


def tell(status: JobStatus) -> list[tuple[str, str]]:
    """A job's status as (name, value) rows."""
    rows = [("id", status.id), ("state", describe(status)), ("branch", status.ref)]
    if status.request:
        params = ", ".join(f"{name}={value}" for name, value in status.request.params.items())
        rows += [
            ("preset", status.request.preset.name),
            ("params", params or "(none)"),
            ("code", status.request.code),
            ("by", f"{status.request.requested_by} at {status.request.requested_at}"),
        ]
    if status.result and status.result.message:
        rows.append(("result", status.result.message))
    if status.exit:
        rows.append(("ended by", f"{status.exit.reason} (exit code {status.exit.code})"))
    if status.standing:
        rows.append(("signed", str(status.standing)))
    if status.newer:
        rows.append(("newer", status.newer))
    rows += [("problem", problem) for problem in status.problems]
    if status.result:
        rows += [("problem", problem) for problem in status.result.problems]
    rows += [("fault", fault) for fault in status.faults]
    return [*rows, *(("story", subject) for subject in status.story)]


@click.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=_LIST_LIMIT, show_default=True)
@click.option(
    "--state", "states", type=click.Choice(_STATES), multiple=True, help="May be repeated."
)
@click.option("--preset", metavar="NAME", help="Of this preset alone.")
@click.option("--by", metavar="WHO", help="Asked by this requester alone.")
@click.option("--label", metavar="LABEL", help="With this label alone.")
@click.option("--all", "folded", is_flag=True, help="Also the ended jobs that were folded.")
@bus_options()
def list_command(limit: int, states: tuple[str, ...], folded: bool, **given: Any) -> None:
    """List the newest jobs of the bus.

    \b
    Examples:
      kakeya_remote list --state queued --state running
      kakeya_remote list --all --preset niah-smoke --limit 10
    """
    shared = merge_shared(given)
    wanted = {name: given[name] for name in ("preset", "by", "label")}
    with open_client(shared) as client:
        jobs = client.list(limit, states=states, folded=folded, **wanted)
    if shared["as_json"]:
        print_json({"schema": "kakeya.jobs/1", "jobs": [job.as_json() for job in jobs]})
        return
    columns = ("id", "preset", "state", "verdict", "attempt", "runner", "signed", "by")
    print_table("", columns, [_row(job) for job in jobs])
    if not jobs and (states or any(wanted.values())):
        say("no such job on this bus" + ("" if folded else "; --all looks into the ledger too"))
    elif not jobs:
        say("no jobs on this bus yet: kakeya_remote run PRESET")


def _preset(job: JobStatus) -> str:
    if job.request is not None:
        return job.request.preset.name
    return "(newer)" if job.newer else "(malformed)"


def _row(job: JobStatus) -> tuple[str, ...]:
    return (
        job.id,
        _preset(job),
        job.state.value if job.state else "unreadable",
        job.verdict or "",
        str(job.attempt),
        job.runner or "",
        job.standing.word.value if job.standing else "",
        job.request.requested_by if job.request else "",
    )


@click.command("cancel")
@click.argument("job_id", metavar="ID")
@click.option("--reason", default="", help="Why, for the record.")
@bus_options()
def cancel_command(job_id: str, reason: str, **given: Any) -> None:
    """End a job.

    A queued job ends at once. A held one is asked to end; where its runner does not answer within
    two heartbeats, the job is ended from here.

    \b
    Example:
      kakeya_remote cancel 01JMG19Y00ABCDEFGHJKMNPQRS --reason 'wrong seed'
    """
    shared = merge_shared(given)
    watcher = make_watcher(quiet=shared["as_json"])
    with open_client(shared, watcher) as client:
        status = client.cancel(job_id, reason)
    if shared["as_json"]:
        print_json(status.as_json())
    else:
        print_line(describe(status))


@click.command("retry")
@click.argument("job_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Follow the new job; the exit code is its verdict.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Bounds the waiting.")
@click.option("--id", "key", metavar="KEY", help="Idempotency key of the new request.")
@click.option(
    "--sign", "signing_key", type=click.Path(path_type=Path), metavar="KEY", help="An SSH key."
)
@click.option("--no-sign", is_flag=True, help="Do not sign, though a setting names a key.")
@bus_options()
def retry_command(job_id: str, **given: Any) -> None:
    """Ask again for a job that has ended.

    The new request has the same params, code, labels and predictions, and names the old job. Its
    preset is the one of this checkout.

    \b
    Example:
      kakeya_remote retry 01JMG19Y00ABCDEFGHJKMNPQRS --wait
    """
    from bridge.cli.run import announce
    from bridge.cli.wait import follow

    shared = merge_shared(given)
    waits = given["wait"] or shared["embedded"]
    watcher = make_watcher(quiet=shared["as_json"])
    with open_client(shared, watcher) as client:
        submission = client.retry(
            job_id,
            key=given["key"],
            signing_key=given["signing_key"],
            sign=not given["no_sign"],
        )
        announce(submission, shared, waits=waits)
        if waits:
            follow(client, submission.id, given["timeout_s"], shared)
