"""`kakeya_remote demo`: the main job, whole, on a bus and a runner made for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.client import Client
    from bridge.client.outcomes import Outcome


@click.command("demo")
@click.option("--preset", default="niah-smoke", show_default=True, help="The preset to run.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A param of it.")
def demo_command(preset: str, params: tuple[str, ...]) -> None:
    """Run a real job across a real git bus, both made here, and show what came back.

    A request is pushed as a branch, a runner claims it, runs it, and commits logs, results and
    gated evidence back. Nothing is needed before: no git identity, no server, no cache.

    \b
    Example:
      kakeya_remote demo
      kakeya_remote demo --preset noop -p seconds=3
    """
    from bridge.cli.output import print_line
    from bridge.cli.watching import make_watcher
    from bridge.client import Client

    with Client.open(embedded=True, watcher=make_watcher()) as client:
        _fetch_inputs(client, preset)
        submission = client.send(client.draft({"preset": preset}, texts=params))
        print_line(f"request       {submission.id}")
        print_line(f"bus           {_here(Path(submission.bus))}")
        outcome = client.wait(submission.id)
        assert client.embedded is not None
        folder = client.embedded.folder / "results" / submission.id
        if outcome.status.ended:
            client.results(submission.id, folder)
        record = client.evidence(submission.id)
    if record is not None:
        _show_metrics(record)
        _show_gates(record)
    _show_outcome(outcome, folder, submission.ref)
    raise SystemExit(int(outcome.exit_code))


def _fetch_inputs(client: Client, preset: str) -> None:
    """Have the preset's published inputs here before the job, with a bar for the waiting person."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from bridge.runner.assets import provide_asset
    from bridge.runner.config import default_assets_dir
    from bridge.runner.trust import module_command, open_trust
    from presets.tokens import Source

    place = client.embedded
    assert place is not None
    catalog, _ = client.catalog()
    wanted = [
        catalog.assets[token.text.removeprefix("asset:")]
        for token in catalog.get(preset).inputs.values()
        if token.source is Source.LITERAL
    ]
    trust = open_trust(place.checkout, None, place.folder / "state", allow_edits=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as bars:
        for asset in wanted:
            task = bars.add_task(asset.name, total=asset.bytes, visible=False)
            provide_asset(
                asset,
                default_assets_dir(),
                module_command=lambda module, *rest: module_command(trust, module, *rest),
                say=lambda line: bars.console.print(line, style="dim"),
                progress=lambda done, total, task=task: bars.update(  # type: ignore[misc]
                    task, completed=done, total=total, visible=True
                ),
            )


def _show_metrics(record: Mapping[str, Any]) -> None:
    from bridge.cli.output import print_table

    rows = [
        (
            row["name"],
            row["arm"] or "",
            ", ".join(f"{key} {value}" for key, value in row["at"].items()),
            _short(row["value"]),
            _interval(row["ci"]),
            str(row["n"]),
        )
        for row in record["metrics"]
        if row["ci"] and len(row["at"]) < 2  # the finer grid is for the report's heat map
    ]
    print_table("what was measured", ("metric", "arm", "at", "value", "interval", "n"), rows)


def _show_gates(record: Mapping[str, Any]) -> None:
    from bridge.cli.output import print_table

    rows = [
        (row["id"], row["threshold"], _short(row["observed"]) or row["why"], row["verdict"])
        for row in record["gates"]
    ]
    print_table("gates", ("gate", "threshold", "observed", "verdict"), rows)


def _show_outcome(outcome: Outcome, folder: Path, ref: str) -> None:
    from bridge.cli.output import print_line

    status = outcome.status
    verdict = status.verdict or "none"
    print_line(f"outcome       {status.state}, verdict {verdict}, exit code {outcome.exit_code:d}")
    for name in ("evidence.json", "report.html", "report.md"):
        if (folder / name).is_file():
            print_line(f"{name:<13} {_here(folder / name)}")
    print_line(f"the story     git -C {_here(folder.parents[1] / 'bus.git')} log {ref}")
    print_line(f"check it      kakeya_remote evidence verify {_here(folder)}")


def _here(path: Path) -> Path:
    """`path` as it is typed from the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _interval(ci: Mapping[str, Any] | None) -> str:
    if ci is None:
        return ""
    return f"{_short(ci['lo'])} to {_short(ci['hi'])} ({ci['method']})"


def _short(value: str | None) -> str:
    """A decimal string cut for the eye; the record keeps all of it."""
    if value is None:
        return ""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
