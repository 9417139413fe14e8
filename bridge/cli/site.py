"""`kakeya_remote site build`: a bus as plain files that any browser opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, say


@click.group("site")
def site_group() -> None:
    """A bus as plain files: jobs, runners, trends and evidence, with no server behind them.

    \b
    Example:
      kakeya_remote site build --out site
    """


@site_group.command("build")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where; a folder of an earlier build is brought up to date.",
)
@click.option("--fresh", is_flag=True, help="Read and write everything again.")
@bus_options(embedded=False)
def build_command(out: Path, fresh: bool, **given: Any) -> None:
    """Write the pages of a bus: every job, the runners, trends of every metric, usage.

    The pages open from a disk as well as from a web server, and load nothing from elsewhere.

    \b
    Example:
      kakeya_remote site build --out site && open site/index.html
    """
    from bridge.client.site.build import build_site

    shared = merge_shared(given)
    with open_client(shared) as client:
        built = build_site(client, out, fresh=fresh, say=say)
    if shared["as_json"]:
        print_json(built.as_json())
        return
    print_line(str(built.folder / "index.html"))
    size = f"{built.first_view_bytes / 1000:.0f} KB"
    say(f"{built.jobs} jobs, {built.read} of them read now; the first view loads {size}")
