"""`kakeya_remote watch`: the bus as a live view in the terminal."""

from __future__ import annotations

import sys
from typing import Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client


@click.command("watch")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.5, 3600),
    metavar="SECONDS",
    help="Between two looks.  [default: as slow as the bus's profile polls]",
)
@bus_options(embedded=False)
def watch_command(every_s: float | None, **given: Any) -> None:
    """Watch the queue, the runners, running jobs with their progress, and a job's output.

    Driven by keyboard: arrows choose a job, f what is shown, w why it waits, l its output alone,
    r looks now, q ends. Nothing on the bus is changed. Needs the extra watch.

    \b
    Example:
      kakeya_remote watch --bus /srv/bus.git
    """
    from bridge.errors import MissingPartError, UsageError

    try:
        from bridge.cli.screen import Screen
    except ImportError as error:
        raise MissingPartError(
            f"the package {error.name} is not installed",
            where="watch",
            remedy="pip install -c constraints.txt '.[watch]'",
        ) from error
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "needs a terminal",
            where="watch",
            remedy="kakeya_remote list and status --json tell the same to a program",
        )
    shared = merge_shared(given)
    with open_client(shared) as client:
        client.bus.identity()
        Screen(client, every_s=every_s or client.bus.profile.poll_max_s).run()
