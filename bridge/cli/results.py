"""`kakeya_remote results`: a job's evidence and files."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import escape_controls, print_json, print_line, print_table, say
from bridge.errors import UsageError

if TYPE_CHECKING:
    from bridge.client import Client


@click.command("results")
@click.argument("job_id", metavar="ID")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: .kakeya/results/ID]",
)
@click.option("--artifact", "path", metavar="PATH", help="Fetch this one artifact alone.")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Where the one artifact goes; - for stdout.  [default: its own name, here]",
)
@bus_options()
def results_command(
    job_id: str, folder: Path | None, path: str | None, target: Path | None, **given: Any
) -> None:
    """Download a job's evidence, report, samples and artifacts, and show its gates.

    Every file is checked against its digest; none is written outside the folder.

    \b
    Examples:
      kakeya_remote results 01JMG19Y00ABCDEFGHJKMNPQRS --out evidence-of-tuesday
      kakeya_remote results 01JMG19Y00ABCDEFGHJKMNPQRS --artifact model.bin -o model.bin
    """
    shared = merge_shared(given)
    if path is not None:
        fetch_artifact(job_id, path, target, shared)
        return
    if target is not None:
        raise UsageError("-o goes with --artifact", remedy="--out names a folder for all files")
    with open_client(shared) as client:
        results = client.results(job_id, folder or default_folder(client, job_id))
    if shared["as_json"]:
        print_json(results.as_json())
        return
    print_evidence(results.evidence)
    print_table(
        "files",
        ("file", "bytes", "sha256"),
        [(path, str(size), digest) for path, (digest, size) in results.files.items()],
    )
    if results.status.standing is not None:
        print_line(escape_controls(str(results.status.standing)))
    for name, why in results.left.items():
        say(f"not fetched: {name}: {why}")
    print_line(str(results.folder))
    if results.evidence is not None:
        say(f"check it: kakeya_remote evidence verify {results.folder}")


def fetch_artifact(job_id: str, path: str, target: Path | None, shared: dict[str, Any]) -> None:
    """Fetch one artifact to a file or to stdout."""
    plain = target == Path("-")
    with tempfile.TemporaryDirectory() as scratch, open_client(shared) as client:
        place = Path(scratch, "it") if plain else target or Path(path.rpartition("/")[2])
        item = client.artifact(job_id, path, place)
        if plain:
            with place.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
    if shared["as_json"]:
        facts = {"path": item.path, "sha256": item.sha256, "bytes": item.bytes}
        print_json({"schema": "kakeya.artifact/1", **facts, "file": str(place.absolute())})
        return
    print_line(str(place))
    say(f"{item.bytes} bytes, {item.sha256}")


def default_folder(client: Client, job_id: str) -> Path:
    """Where results go when nobody says: below a folder that git is told to ignore."""
    from bridge.client.embedded import make_folder

    root = client.checkout.root if client.checkout else Path.cwd()
    return make_folder(root) / "results" / job_id.strip().upper()


def print_evidence(record: Mapping[str, Any] | None) -> None:
    """The gates of a record, and all of it on a terminal.

    It was written elsewhere: nothing of it is assumed.
    """
    if record is None:
        return
    try:
        if sys.stdout.isatty():
            from bridge.cli.evidence import print_record

            print_record(record)
            return
        rows = [
            (str(row["verdict"]), str(row["id"]), str(row["message"])) for row in record["gates"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        say(f"note: the evidence cannot be shown, it has no usable {error}")
        return
    if rows:
        print_table("gates", ("verdict", "gate", "why"), rows)
