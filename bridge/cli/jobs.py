"""`kakeya_remote status`, `list` and `cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say
from bridge.cli.watching import describe, make_watcher

if TYPE_CHECKING:
    from bridge.client.outcomes import JobStatus

_LIST_LIMIT = 50


@click.command("status")
@click.argument("job_id", metavar="ID")
@bus_options()
def status_command(job_id: str, **given: Any) -> None:
    """Show where one job stands.

    \b
    Example:
      kakeya_remote status 01JMG19Y00ABCDEFGHJKMNPQRS --json
    """
    shared = merge_shared(given)
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
    rows += [("problem", problem) for problem in status.problems]
    if status.result:
        rows += [("problem", problem) for problem in status.result.problems]
    if status.fault:
        rows.append(("fault", status.fault))
    return [*rows, *(("story", subject) for subject in status.story)]


@click.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=_LIST_LIMIT, show_default=True)
@bus_options()
def list_command(limit: int, **given: Any) -> None:
    """List the newest jobs of the bus.

    \b
    Example:
      kakeya_remote list --limit 10
    """
    shared = merge_shared(given)
    with open_client(shared) as client:
        jobs = client.list(limit)
    if shared["as_json"]:
        print_json({"schema": "kakeya.jobs/1", "jobs": [job.as_json() for job in jobs]})
        return
    columns = ("id", "preset", "state", "verdict", "attempt", "runner", "by")
    print_table("", columns, [_row(job) for job in jobs])
    if not jobs:
        say("no jobs on this bus yet: kakeya_remote run PRESET")


def _row(job: JobStatus) -> tuple[str, ...]:
    return (
        job.id,
        job.request.preset.name if job.request else "(malformed)",
        job.state.value if job.state else "unreadable",
        job.verdict or "",
        str(job.attempt),
        job.runner or "",
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
