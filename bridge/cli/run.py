"""`kakeya_remote run`: from a preset's name to a job on the bus, and on to its verdict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client, resume_hint
from bridge.cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from bridge.client import Client, Submission
    from bridge.records import Request

_MAX_NAMED_EDITS = 5


@click.command("run")
@click.argument("preset", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A param.")
@click.option(
    "--manifest",
    metavar="FILE",
    help="A request as JSON, whole or in part; - for stdin.",
)
@click.option("--code", default=None, metavar="REV", help="Whose code runs.  [default: HEAD]")
@click.option("--push-code", is_flag=True, help="Send the code commit to the bus first.")
@click.option("--on-push", is_flag=True, help="Let GitHub Actions see it: docs/actions.md.")
@click.option("--label", "labels", multiple=True, help="A label the runner must have too.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 first, 9 last.  [default: 5]")
@click.option("--queue-timeout", "queue_timeout_s", type=int, metavar="SECONDS")
@click.option("--on", "executor", metavar="EXECUTOR", help="An executor the preset allows.")
@click.option(
    "--predict",
    "predictions",
    multiple=True,
    metavar="ID:CREDENCE:TEXT|@FILE",
    help="What you expect, registered before the run.",
)
@click.option(
    "--sign",
    "signing_key",
    type=click.Path(path_type=Path),
    envvar="KAKEYA_SIGNING_KEY",
    metavar="KEYFILE",
    help="Sign the request with this SSH key.",
)
@click.option("--no-sign", is_flag=True, help="Do not sign, though a setting names a key.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="ALIAS=DIGEST|FILE",
    help="A record that gates compare with, fixed before the run.",
)
@click.option("--amends", metavar="DIGEST", help="The request whose plan this one changes.")
@click.option("--id", "key", metavar="KEY", help="Idempotency key: submit at most once.")
@click.option(
    "--matrix",
    "matrix",
    multiple=True,
    metavar="NAME=V1,V2,...",
    help="Run every combination of these values.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), help="Run each with the seeds 0 to N-1.")
@click.option("--fresh", is_flag=True, help="Run it, whatever evidence of the same work there is.")
@click.option("--dry-run", is_flag=True, help="Show the manifest and the argv; send nothing.")
@click.option("--wait", is_flag=True, help="Follow the job to its end.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Bounds the waiting.")
@bus_options()
def run_command(**given: Any) -> None:
    """Submit one job, and print its id first.

    Uncommitted edits are never part of a job. With --embedded a bus and a runner are made for this
    call, which then waits.

    \b
    Examples:
      kakeya_remote run niah-smoke --wait
      kakeya_remote run noop -p seconds=2 --id nightly-7 --wait --json
      kakeya_remote run noop-sweep --matrix seconds=0.5,1 --seeds 3 --wait
      kakeya_remote run niah-smoke --predict 'recall:0.8:oracle recalls 9 of 10' --dry-run
    """
    from bridge.cli.wait import follow
    from bridge.cli.watching import make_watcher

    shared = merge_shared(given)
    waits = given["wait"] or (shared["embedded"] and not given["dry_run"])
    watcher = make_watcher(quiet=shared["as_json"])
    with open_client(shared, watcher) as client:
        if given["matrix"] or given["seeds"]:
            from bridge.cli.sweep import run_sweep

            run_sweep(client, given, shared)
            return
        request = client.draft(
            read_input(client, given), texts=given["params"], code=given["code"] or "HEAD"
        )
        if given["dry_run"]:
            show_dry_run(client, request, as_json=shared["as_json"])
            return
        submission = client.send(
            request,
            key=given["key"],
            push=given["push_code"],
            signing_key=given["signing_key"],
            on_push=given["on_push"],
            sign=not given["no_sign"],
        )
        announce(submission, shared, waits=waits)
        if waits:
            follow(client, submission.id, given["timeout_s"], shared)


def read_input(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    """The draft that the options of `run` stand for."""
    from bridge.client.draft import read_draft
    from bridge.errors import UsageError

    draft: dict[str, Any] = {}
    if given["manifest"]:
        data = read_text_file(given["manifest"])
        draft = read_draft(data, where=given["manifest"])
    if given["preset"]:
        draft["preset"] = given["preset"]
    if "preset" not in draft:
        raise UsageError(
            "no preset is named",
            where="run",
            remedy="kakeya_remote presets lists them; then kakeya_remote run NAME",
        )
    for name in ("priority", "queue_timeout_s", "executor", "amends"):
        if given[name] is not None:
            draft[name] = given[name]
    if not given["fresh"] and not given["manifest"]:
        draft["reuse"] = True
    if given["code"] is not None:
        draft.pop("code", None)
    if given["predictions"]:
        draft["predictions"] = read_predictions(given["predictions"])
    if given["baselines"]:
        draft["baselines"] = read_baselines(given["baselines"])
    if given["labels"]:
        from bridge.client.draft import choose_preset

        own = choose_preset(client.catalog()[0], draft).labels
        draft["labels"] = list(dict.fromkeys((*own, *given["labels"])))
    return draft


def read_predictions(texts: tuple[str, ...]) -> list[Any]:
    """Predictions of `ID:CREDENCE:TEXT`, or of a JSON file named by `@FILE`."""
    from bridge import canonical
    from bridge.errors import UsageError

    found: list[Any] = []
    for text in texts:
        if text.startswith("@"):
            value = canonical.decode(read_text_file(text[1:]), where=text[1:])
            found += value if isinstance(value, list) else [value]
            continue
        parts = text.split(":", 2)
        if len(parts) != 3:
            raise UsageError(
                f"{text!r} is not ID:CREDENCE:TEXT",
                where="--predict",
                remedy="such as --predict 'recall:0.8:oracle recalls 9 of 10'",
            )
        found.append({"id": parts[0], "credence": parts[1], "text": parts[2]})
    return found


def read_baselines(texts: tuple[str, ...]) -> list[Any]:
    """Baselines of `ALIAS=sha256:...`, or of `ALIAS=FILE`, which is then named by its digest."""
    from bridge import canonical
    from bridge.errors import UsageError
    from evidence.judge import load_json

    found: list[Any] = []
    for text in texts:
        alias, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is not ALIAS=DIGEST or ALIAS=FILE", where="--baseline")
        known = canonical.is_digest(value)
        digest = value if known else canonical.digest(load_json(Path(value)))
        found.append({"alias": alias, "digest": digest})
    return found


def read_text_file(name: str) -> bytes:
    """The bytes of a file, or of stdin for `-`.

    Raises:
        UsageError: it cannot be read.
    """
    from bridge.errors import UsageError
    from bridge.wire import MAX_REQUEST_BYTES

    limit = MAX_REQUEST_BYTES + 1  # one more than is taken, so that too much is seen
    try:
        if name == "-":
            return sys.stdin.buffer.read(limit)
        with Path(name).open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=name) from error


def announce(submission: Submission, shared: dict[str, Any], *, waits: bool) -> None:
    """Print the id before anything else can go wrong, then what a person should know."""
    if not shared["as_json"]:
        print_line(submission.id)
    elif not waits:
        print_json(submission.as_json())
    else:
        say(f"job {submission.id}")  # stdout is for the one object at the end
    if submission.edits:
        named = ", ".join(submission.edits[:_MAX_NAMED_EDITS])
        more = "" if len(submission.edits) <= _MAX_NAMED_EDITS else ", ..."
        count = len(submission.edits)
        say(f"note: {count} uncommitted edits are not part of the job: {named}{more}")
    for note in submission.notes:
        say(f"note: {note}")
    if not submission.created:
        say(f"note: found under its key, submitted before: {submission.id}")
    if not waits:
        say(f"wait for it: {resume_hint(submission.id, shared)}")


def show_dry_run(client: Client, request: Request, *, as_json: bool) -> None:
    """The manifest, the argv that would run, and the smallest n at which each gate can pass."""
    from bridge.cli.dryrun import preview

    shown = preview(client.presets()[request.preset.name], request)
    if as_json:
        print_json(shown.as_json())
        return
    import json

    print_line(json.dumps(shown.manifest, indent=2))
    print_line("")
    print_line(f"argv: {' '.join(shown.argv)}")
    for line in shown.needs:
        print_line(line)
