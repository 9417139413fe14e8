"""`kakeya_remote evidence promote`: a record onto a branch that can be reviewed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table, say
from bridge.errors import UsageError

if TYPE_CHECKING:
    from bridge.client.checkout import Checkout
    from bridge.client.promotion import Promotion


@click.command("promote")
@click.argument("source", metavar="ID|FOLDER")
@click.option("--onto", default="HEAD", show_default=True, help="What the branch stands on.")
@click.option("--push", metavar="URL|NAME", help="Push the branch there, such as to `origin`.")
@bus_options()
def promote_command(source: str, onto: str, push: str | None, **given: Any) -> None:
    """Put a finished job's record on a branch, below evidence/records/, for a pull request.

    Failed and negative runs too. The record (at most 32 KB) and its samples (at most 1 MB) are
    compressed where they are large; larger samples stay on the bus by their digest. The worktree
    and the index are not touched.

    \b
    Example:
      kakeya_remote evidence promote 01JMG19Y00ABCDEFGHJKMNPQRS --push origin
    """
    from bridge.client.branches import push_branch
    from bridge.client.checkout import find_checkout
    from bridge.client.promotion import promote

    shared = merge_shared(given)
    checkout = find_checkout(Path.cwd())
    if checkout is None:
        raise UsageError(
            "is no git checkout", where=str(Path.cwd()), remedy="run this inside the repository"
        )
    if Path(source).is_dir():
        made = promote(checkout, Path(source), onto)
    else:
        with tempfile.TemporaryDirectory(prefix="kakeya-promote-") as scratch:
            folder = Path(scratch) / "results"
            with open_client(shared) as client:
                client.results(source, folder)
            made = promote(checkout, folder, onto)
    if push:
        push_branch(checkout, made.branch, made.commit, push)
    _tell(made, checkout, push, as_json=bool(shared["as_json"]))


def _tell(made: Promotion, checkout: Checkout, push: str | None, *, as_json: bool) -> None:
    if as_json:
        answer = {"branch": made.branch, "commit": made.commit, "base": made.base}
        answer |= {"folder": made.folder, "found": made.checked.word}
        print_json({"schema": "kakeya.promotion/1", **answer, "files": dict(made.files)})
        return
    print_line(f"{made.branch}  {made.checked.word}")
    rows = [(path, str(size)) for path, size in made.files.items()]
    print_table("files", ("file", "bytes"), rows)
    for note in (*made.checked.problems, *made.checked.notes):
        say(note)
    if not push:
        say(f"push it and open a pull request: git -C {checkout.root} push origin {made.branch}")
