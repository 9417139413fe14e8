"""`kakeya_remote bus`: make a bus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.output import print_json, print_line, say


@click.group("bus")
def bus_group() -> None:
    """Make a bus.

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
