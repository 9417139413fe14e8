"""`kakeya_remote why`, and the table of runners that `status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say

if TYPE_CHECKING:
    from bridge.client.fleet import RunnerView
    from bridge.records import Resources


@click.command("why")
@click.argument("job_id", metavar="ID")
@bus_options()
def why_command(job_id: str, **given: Any) -> None:
    """Show why a job does not move: the reason of every known runner.

    \b
    Example:
      kakeya_remote why 01JMG19Y00ABCDEFGHJKMNPQRS
    """
    shared = merge_shared(given)
    with open_client(shared) as client:
        found = client.why(job_id)
    if shared["as_json"]:
        print_json(found.as_json())
        return
    print_line(found.message)
    if found.reasons:
        rows = [(item.runner, item.reason, item.detail) for item in found.reasons]
        print_table("", ("runner", "reason", "detail"), rows)


def show_fleet(shared: dict[str, Any]) -> None:
    """The runners of a bus on stdout."""
    with open_client(shared) as client:
        fleet = client.fleet()
        bus = client.bus.url
    if shared["as_json"]:
        rows = [runner.as_json() for runner in fleet]
        print_json({"schema": "kakeya.runners/1", "runners": rows})
        return
    columns = ("runner", "state", "last beat", "labels", "free", "holds", "trusts", "code")
    print_table("", columns, [_row(runner) for runner in fleet])
    if not fleet:
        say(f"no runner has ever beaten here: kakeya_remote runner start --bus {bus}")


def _row(runner: RunnerView) -> tuple[str, ...]:
    from bridge.client.fleet import tell_age

    age = f"{tell_age(runner.age_s)} ago"
    if runner.beat is None:
        return (runner.name, runner.state, age, "", "", "", "", "")
    facts = runner.beat.facts
    return (
        runner.name,
        runner.state,
        age,
        ",".join(facts.labels),
        _tell_free(facts.free, facts.resources),
        " ".join(held.id for held in runner.beat.claims) or "nothing",
        facts.trusted[:12],
        facts.code_policy,
    )


def _tell_free(free: Resources, total: Resources) -> str:
    text = f"{free.cpus}/{total.cpus} CPUs, {free.memory_mb}/{total.memory_mb} MiB"
    return f"{text}, {free.gpus}/{total.gpus} GPUs" if total.gpus else text
