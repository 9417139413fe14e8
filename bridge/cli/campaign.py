"""`kakeya_remote campaign`: validate, start, follow, pause, resume, amend, drive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say
from bridge.cli.watching import make_watcher
from bridge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from bridge.client import Client
    from bridge.client.progress import CampaignStatus
    from bridge.plans import Campaign

FOLDER = "presets/campaigns"
_TIMEOUT = click.option(
    "--timeout", "timeout_s", type=float, metavar="SECONDS", help="Bounds the waiting."
)
_PARAMS = click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A param of every node that has it.",
)
_WAIT = click.option("--wait", is_flag=True, help="Drive it and follow it to its end.")
_REASON = click.option("--reason", default="", help="Why, for whoever reads its story.")
_SIGN = click.option(
    "--sign",
    "signing_key",
    type=click.Path(path_type=Path),
    envvar="KAKEYA_SIGNING_KEY",
    metavar="KEYFILE",
    help="Sign the plan with this SSH key; that covers every cell.",
)


@click.group("campaign")
def campaign_group() -> None:
    """Many jobs with decision gates between them, from one file; docs/campaigns.md.

    \b
    Example:
      kakeya_remote campaign validate c512-round
      kakeya_remote campaign start c512-round --wait
    """


@campaign_group.command("validate")
@click.argument("file", metavar="NAME|FILE")
@_PARAMS
@click.option("--code", default="HEAD", metavar="REV", help="Whose code runs.")
@bus_options(embedded=False)
def validate_command(file: str, params: tuple[str, ...], code: str, **given: Any) -> None:
    """Check a campaign without sending anything: 2 with every fault at its path, else 0."""
    shared = merge_shared(given)
    with open_client(shared) as client:
        plan = client.campaigns.plan(read_document(client, file, params), code=code)
    show_plan(plan, as_json=shared["as_json"])


@campaign_group.command("start")
@click.argument("file", metavar="NAME|FILE")
@_PARAMS
@click.option("--code", default="HEAD", metavar="REV", help="Whose code runs.")
@click.option("--push-code", is_flag=True, help="Send the code commit to the bus first.")
@click.option("--fresh", is_flag=True, help="Run every cell, whatever evidence there is.")
@_SIGN
@_WAIT
@_TIMEOUT
@bus_options()
def start_command(
    file: str,
    params: tuple[str, ...],
    code: str,
    push_code: bool,
    fresh: bool,
    signing_key: Path | None,
    wait: bool,
    timeout_s: float | None,
    **given: Any,
) -> None:
    """Put a campaign on the bus and print its id first.

    Runners drive it from then on, and so does this client with --wait.
    """
    shared = merge_shared(given)
    with open_client(shared, make_watcher(quiet=shared["as_json"])) as client:
        document = read_document(client, file, params)
        if fresh:
            document = {**document, "fresh": True}
        plan = client.campaigns.plan(document, code=code)
        begin(client, plan, shared, push_code, signing_key, wait=wait, timeout_s=timeout_s)


@campaign_group.command("status")
@click.argument("campaign_id", metavar="[ID]", required=False)
@_WAIT
@_TIMEOUT
@bus_options()
def status_command(
    campaign_id: str | None, wait: bool, timeout_s: float | None, **given: Any
) -> None:
    """Show where a campaign and its cells stand, or list all of them."""
    shared = merge_shared(given)
    with open_client(shared, make_watcher(quiet=shared["as_json"])) as client:
        if campaign_id is None:
            show_list(client, shared)
        elif wait:
            follow(client, client.campaigns.find(campaign_id), timeout_s, shared)
        else:
            show(client.campaigns.status(campaign_id), shared)


@campaign_group.command("drive")
@click.argument("campaign_id", metavar="ID")
@bus_options(embedded=False)
def drive_command(campaign_id: str, **given: Any) -> None:
    """Take every step that is due now, and end; for a timer where no runner drives."""
    shared = merge_shared(given)
    with open_client(shared, make_watcher(quiet=shared["as_json"])) as client:
        client.campaigns.drive(campaign_id)
        show(client.campaigns.status(campaign_id), shared)


@campaign_group.command("pause")
@click.argument("campaign_id", metavar="ID")
@_REASON
@bus_options(embedded=False)
def pause_command(campaign_id: str, reason: str, **given: Any) -> None:
    """Stop launching; what runs goes on."""
    shared = merge_shared(given)
    with open_client(shared) as client:
        client.campaigns.pause(campaign_id, reason)
        show(client.campaigns.status(campaign_id), shared)


@campaign_group.command("resume")
@click.argument("campaign_id", metavar="ID")
@_REASON
@_WAIT
@_TIMEOUT
@bus_options()
def resume_command(
    campaign_id: str, reason: str, wait: bool, timeout_s: float | None, **given: Any
) -> None:
    """Go on launching."""
    shared = merge_shared(given)
    with open_client(shared, make_watcher(quiet=shared["as_json"])) as client:
        client.campaigns.resume(campaign_id, reason)
        if wait:
            follow(client, client.campaigns.find(campaign_id), timeout_s, shared)
        else:
            show(client.campaigns.status(campaign_id), shared)


@campaign_group.command("amend")
@click.argument("campaign_id", metavar="ID")
@click.argument("file", metavar="NAME|FILE")
@_PARAMS
@click.option("--reason", required=True, help="Why; it stands in the campaign's story.")
@click.option("--code", metavar="REV", help="Another code commit for what is not launched yet.")
@_SIGN
@bus_options(embedded=False)
def amend_command(
    campaign_id: str,
    file: str,
    params: tuple[str, ...],
    reason: str,
    code: str | None,
    signing_key: Path | None,
    **given: Any,
) -> None:
    """Replace the plan; what changes is named, and nodes that have begun stay as they are."""
    shared = merge_shared(given)
    with open_client(shared) as client:
        document = read_document(client, file, params)
        course = client.campaigns.amend(
            campaign_id, document, reason, code=code, signing_key=signing_key
        )
        for line in course.last.changes if course.last else ():
            say(line)
        show(client.campaigns.status(campaign_id), shared)


@campaign_group.command("results")
@click.argument("campaign_id", metavar="ID")
@click.option("--out", type=click.Path(path_type=Path), help="Where the files go.")
@bus_options(embedded=False)
def results_command(campaign_id: str, out: Path | None, **given: Any) -> None:
    """Download the records of a campaign and of each of its nodes."""
    shared = merge_shared(given)
    with open_client(shared) as client:
        name = client.campaigns.find(campaign_id)
        folder = out or Path(".kakeya") / "results" / name
        files = client.campaigns.download(name, folder)
    if shared["as_json"]:
        answer = {"id": name, "folder": str(folder), "files": [str(path) for path in files]}
        print_json({"schema": "kakeya.campaign-results/1", **answer})
        return
    for path in files:
        print_line(str(path))


# -- what the commands share -----------------------------------------------------------------------


def read_document(client: Client, name: str, params: tuple[str, ...]) -> dict[str, Any]:
    """A campaign's document, from a file or by its name below `presets/campaigns/`."""
    from bridge.client.planning import read_campaign, set_params

    path = Path(name)
    if not path.is_file():
        root = client.checkout.root if client.checkout else Path()
        path = root / FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(
            f"there is no campaign {name!r}",
            where=FOLDER,
            remedy="name a file, or one of that folder",
        )
    document = read_campaign(path.read_bytes(), where=str(path))
    return set_params(document, params, client.catalog()[0])


def begin(
    client: Client,
    plan: Campaign,
    shared: dict[str, Any],
    push_code: bool,
    signing_key: Path | None,
    *,
    wait: bool,
    timeout_s: float | None,
) -> None:
    """Start a plan, print its id, and follow it where that is wanted."""
    waits = wait or bool(shared["embedded"])
    client.campaigns.start(plan, push=push_code, signing_key=signing_key)
    if not shared["as_json"]:
        print_line(plan.id)
    else:
        say(f"campaign {plan.id}")
    if waits:
        follow(client, plan.id, timeout_s, shared)
    client.campaigns.drive(plan.id)  # the first cells are launched before this command ends
    if shared["as_json"]:
        print_json(client.campaigns.status(plan.id).as_json())
    say(f"follow it: kakeya_remote campaign status {plan.id} --wait")


def follow(
    client: Client, campaign_id: str, timeout_s: float | None, shared: dict[str, Any]
) -> None:
    """Wait for a campaign, tell it, and end the command with its exit code."""
    try:
        found = client.campaigns.wait(campaign_id, timeout_s)
    except KeyboardInterrupt:
        say(f"\ndetached: the campaign goes on; kakeya_remote campaign status {campaign_id} --wait")
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
    show(found, shared)
    raise SystemExit(int(found.exit_code))


def show_plan(plan: Campaign, *, as_json: bool) -> None:
    """A plan that is in order: its nodes and how many cells they have."""
    from bridge import wire
    from bridge.cells import cells_of

    if as_json:
        cells = {node.id: [cell.name for cell in cells_of(node)] for node in plan.nodes}
        answer = {"plan": wire.to_json(plan), "cells": cells}
        print_json({"schema": "kakeya.campaign-plan/1", **answer})
        return
    rows = [
        (
            node.id,
            node.preset.name,
            str(len(list(cells_of(node)))),
            ", ".join(f"{edge.node}{f'.{edge.gate}' if edge.gate else ''}" for edge in node.after),
        )
        for node in plan.nodes
    ]
    print_table(plan.name, ("node", "preset", "cells", "after"), rows)


def show_list(client: Client, shared: dict[str, Any]) -> None:
    """Every campaign of the bus, newest first."""
    found = client.campaigns.list()
    if shared["as_json"]:
        rows = [item.as_json() for item in found]
        print_json({"schema": "kakeya.campaigns/1", "campaigns": rows})
        return
    table = [(item.id, item.plan.name if item.plan else "", item.message) for item in found]
    print_table("", ("id", "name", "state"), table)


def show(found: CampaignStatus, shared: dict[str, Any]) -> None:
    """A campaign with a row for each node."""
    if shared["as_json"]:
        print_json(found.as_json())
        return
    rows = []
    for node in found.nodes:
        states = [state for _, state in node.cells.values()]
        told = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states))
        why = "; ".join(node.closed_by) or ", ".join(f"{k} {v}" for k, v in node.gates.items())
        rows.append((node.id, node.preset, node.verdict or node.standing, told, why))
    print_table(
        found.plan.name if found.plan else found.id,
        ("node", "preset", "verdict", "cells", "gates"),
        rows,
    )
    print_line(found.message)
    if found.fault:
        say(f"a commit on its ref does not count: {found.fault}")
    if found.verdict is not None:
        say(f"files: kakeya_remote campaign results {found.id}")
