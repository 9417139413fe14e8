"""`kakeya_remote bus`: make a bus, fold its ended jobs, look for what is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say
from bridge.cli.watching import make_watcher


@click.group("bus")
def bus_group() -> None:
    """Make a bus, and keep it small and sound.

    \b
    Example:
      kakeya_remote bus init /srv/git/kakeya-bus.git
    """


@bus_group.command("init")
@click.argument("address", metavar="URL|DIR")
@click.option("--root", metavar="REF", help="Prefix of the bus's refs.")
@click.option("--profile", metavar="NAME", help="local, self-hosted or github.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def init_command(address: str, as_json: bool, **given: Any) -> None:
    """Make a git remote into a bus; a folder becomes a bare repository first.

    A second call finds the bus that is there.

    \b
    Examples:
      kakeya_remote bus init /srv/git/kakeya-bus.git
      kakeya_remote bus init git@github.com:lab/bus.git
    """
    from bridge.client import Client
    from bridge.client.founding import prepare_server
    from bridge.client.settings import absolute_bus

    before: dict[str, Any] = click.get_current_context().find_root().obj or {}
    url = absolute_bus(address, Path.cwd())
    if url.startswith("/"):
        prepare_server(Path(url))
    root, profile = (given[name] or before.get(name) for name in ("root", "profile"))
    with Client.open(url, root=root, profile=profile) as client:
        founded = client.found()
    if as_json or before.get("as_json"):
        print_json(founded.as_json())
        return
    print_line(founded.identity.id)
    said = "a bus begins" if founded.created else "it was a bus already"
    say(f"{said}: {founded.bus}, refs below {founded.root}")
    say(f"serve it: kakeya_remote runner start --bus {founded.bus}")


@bus_group.command("fold")
@click.option(
    "--keep",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="So many of the newest ended jobs stay at refs of their own.",
)
@click.option(
    "--older-than",
    "older_than_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Only what ended longer ago.",
)
@click.option(
    "--expire-logs",
    "logs_days",
    type=click.IntRange(1, 36_500),
    metavar="DAYS",
    help="Delete the logs of jobs that were folded longer ago.",
)
@click.option(
    "--expire-artifacts",
    "artifacts_days",
    type=click.IntRange(1, 36_500),
    metavar="DAYS",
    help="Delete large artifacts that folded jobs left longer ago.",
)
@bus_options(embedded=False)
def fold_command(
    keep: int,
    older_than_s: float,
    logs_days: int | None,
    artifacts_days: int | None,
    **given: Any,
) -> None:
    """Move ended jobs into the ledger.

    A push costs more the more jobs are on refs of their own. Folded jobs are found by status,
    results, logs and --id as before. Runners fold by themselves (docs/operators.md).

    \b
    Example:
      kakeya_remote bus fold --keep 50 --expire-logs 90
    """
    shared = merge_shared(given)
    watcher = make_watcher(quiet=True)
    with open_client(shared, watcher) as client:
        folded = client.fold(
            keep=keep,
            older_than_s=older_than_s,
            logs_days=logs_days,
            artifacts_days=artifacts_days,
        )
    if shared["as_json"]:
        print_json(folded.as_json())
        return
    for job_id in folded.ids:
        print_line(job_id)
    say(f"{len(folded.ids)} folded, {folded.live} jobs on refs of their own")
    if folded.expired:
        say(f"logs deleted: {', '.join(folded.expired)}")
    if folded.swept:
        say(f"{len(folded.swept)} artifacts and checkpoints deleted that nobody needs")
    if folded.left:
        say(f"{len(folded.left)} could not be folded; kakeya_remote bus check says why")


@bus_group.command("check")
@bus_options(embedded=False)
def check_command(**given: Any) -> None:
    """Find what is broken, stuck, foreign or left over on a bus, and say what to do about it.

    Ends 1 where a fault is found. Nothing is changed.

    \b
    Example:
      kakeya_remote bus check --bus /srv/git/kakeya-bus.git
    """
    from bridge.errors import ExitCode

    shared = merge_shared(given)
    with open_client(shared) as client:
        found = client.check()
    if shared["as_json"]:
        print_json(found.as_json())
    else:
        if found.findings:
            rows = [(item.level, item.kind, item.ref, item.text) for item in found.findings]
            print_table("", ("level", "kind", "ref", "what"), rows)
        for item in found.findings:
            say(f"{item.ref}: {item.remedy}")
        say(f"{found.refs} refs, " + ("no fault" if found.healthy else "faults found"))
    raise SystemExit(int(ExitCode.DONE if found.healthy else ExitCode.INTERNAL))
