"""Options that several commands share, and the client they lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bridge.client import Client
    from bridge.client.waiting import Watcher

F = TypeVar("F", bound=Callable[..., Any])
SHARED = ("bus", "root", "profile", "embedded", "as_json")


def bus_options(*, embedded: bool = True) -> Callable[[F], F]:
    """`--bus`, `--root`, `--profile`, `--json`, and `--embedded` where it makes sense."""
    options = [
        click.option("--bus", metavar="URL|DIR", help="The git remote that carries jobs."),
        click.option("--root", metavar="REF", help="Prefix of the bus's refs."),
        click.option("--profile", metavar="NAME", help="local, self-hosted or github."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout."),
    ]
    if embedded:
        text = "A bus under .kakeya/, and a runner for this call alone."
        options.insert(3, click.option("--embedded", is_flag=True, help=text))

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def merge_shared(given: dict[str, Any]) -> dict[str, Any]:
    """The shared options of a command, each taken from before the command where not behind it."""
    context = click.get_current_context()
    before: dict[str, Any] = context.find_root().obj or {}
    return {name: given.get(name) or before.get(name) for name in SHARED}


def open_client(shared: dict[str, Any], watcher: Watcher | None = None) -> Client:
    """The client that the shared options name."""
    from bridge.client import Client

    return Client.open(
        shared["bus"],
        root=shared["root"],
        profile=shared["profile"],
        embedded=bool(shared["embedded"]),
        watcher=watcher,
    )


def resume_hint(job_id: str, shared: dict[str, Any]) -> str:
    """The command that goes on waiting for a job, with the options that lead to its bus."""
    import shlex

    words = ["kakeya_remote", "wait", job_id]
    for name in ("bus", "root", "profile"):
        words += [f"--{name}", shared[name]] if shared[name] else []
    words += ["--embedded"] if shared["embedded"] else []
    return shlex.join(words)
