"""`kakeya_remote usage`: what the jobs of a bus took, by whom, by what, and where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say

if TYPE_CHECKING:
    from bridge.client.accounting import JobUsage, Total

_BY = ("requester", "preset", "runner", "day")
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS_S = {"h": 3_600, "d": 86_400, "w": 604_800}


@click.command("usage")
@click.option("--by", type=click.Choice(_BY), multiple=True, help="May be repeated.")
@click.option("--since", metavar="TIME", help="A date (2026-11-01), or a span such as 12h, 7d, 4w.")
@bus_options(embedded=False)
def usage_command(by: tuple[str, ...], since: str | None, **given: Any) -> None:
    """Show what jobs took: time queued and run, CPU and GPU hours, energy where a machine tells it.

    Folded jobs count too. Energy is that of the whole machine while a job ran.

    \b
    Examples:
      kakeya_remote usage --since 7d
      kakeya_remote usage --by runner --json
    """
    from bridge.client.accounting import add_up, total, usage_of

    shared = merge_shared(given)
    with open_client(shared) as client:
        since_ms = 0 if since is None else read_since_ms(since, client.clock.wall_s())
        jobs = [usage_of(one.chain, one.record) for one in client.walk(since_ms=since_ms)]
    tables = {name: add_up(jobs, name) for name in by or _BY[:3]}
    whole = total("all", jobs)
    if shared["as_json"]:
        told = {name: [one.as_json() for one in rows] for name, rows in tables.items()}
        print_json({"schema": "kakeya.usage/1", "total": whole.as_json(), "by": told})
        return
    for name, rows in tables.items():
        print_table("", (name, *COLUMNS), [_row(one) for one in rows])
        print_line("")
    for line in tell(whole, jobs):
        say(line)


def read_since_ms(text: str, now_s: float) -> int:
    """The Unix time in milliseconds that a date or a span before now stands for.

    Raises:
        UsageError: it is neither.
    """
    from datetime import UTC, datetime

    from bridge.errors import UsageError

    span = _SPAN.fullmatch(text)
    if span:
        return int((now_s - int(span[1]) * _UNITS_S[span[2]]) * 1000)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a date nor a span",
            where="--since",
            remedy="such as --since 2026-11-01, or --since 7d",
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


COLUMNS = ("jobs", "passed", "queue (median)", "run", "CPU h", "GPU h", "energy")


def _row(one: Total) -> tuple[str, ...]:
    from bridge.client.fleet import tell_age

    energy = "not told" if one.energy_j is None else f"{one.energy_j / 3600:.2f} Wh"
    if one.energy_j is not None and one.metered < one.timed:
        energy += f" ({one.metered} of {one.timed})"
    return (
        one.key or "(none)",
        str(one.jobs),
        str(one.passed),
        "not told" if one.queue_median_s is None else tell_age(one.queue_median_s),
        tell_age(one.run_s) if one.timed else "not told",
        f"{one.cpu_hours:.2f}",
        f"{one.gpu_hours:.2f}",
        energy,
    )


def tell(whole: Total, jobs: list[JobUsage]) -> list[str]:
    """What a reader should know beside the tables."""
    lines = [f"{whole.jobs} jobs, {whole.ended} of them ended"]
    silent = sum(job.run_s is None for job in jobs)
    if silent:
        lines.append(f"{silent} tell no run time: they did not run, were not judged, or go on")
    if jobs and whole.energy_j is None:
        lines.append("no machine tells its energy")
    return lines
