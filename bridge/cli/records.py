"""`kakeya_remote evidence check-records`: judge the records that a proposal adds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge.cli.output import escape_controls, print_json, print_line, print_table
from bridge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from evidence.promoted import Checked

_FILE = click.Path(path_type=Path)


@click.command("check-records")
@click.option("--base", required=True, metavar="REV", help="The trusted revision.")
@click.option("--head", required=True, metavar="REV", help="The proposed revision.")
@click.option(
    "--repository", type=_FILE, default=Path(), help="Where both are.  [default: this folder]"
)
@click.option("--summary", type=_FILE, help="Append the report to this file, as Markdown.")
@click.option("--comment", type=_FILE, help="Write the comment to this file, as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def check_command(
    base: str,
    head: str,
    repository: Path,
    summary: Path | None,
    comment: Path | None,
    as_json: bool,
) -> None:
    """Recompute every evidence record that HEAD adds to BASE; nothing of HEAD is run.

    Ends 0 if all hold and pass, 4 if one was tampered with, edited or deleted, 2 if one cannot be
    read, 6 if a gate fails, 5 if a job failed, 10 if gates are inconclusive or missing, or the
    samples are not there.
    """
    from bridge.client.proposals import check_proposal
    from bridge.git import Git
    from evidence.promoted import worst
    from evidence.report.review import draw_comment, draw_summary, title

    git = Git.find(repository.absolute())
    if git is None:
        raise UsageError("is no git checkout", where=str(repository.absolute()))
    try:
        found = check_proposal(git, base, head)
    finally:
        git.close()
    code = worst([item.code for item in found])
    if summary is not None:
        with summary.open("a", encoding="utf-8") as stream:
            stream.write(draw_summary(found))
    if comment is not None:
        comment.write_text(draw_comment(found), "utf-8")
    if as_json:
        print_json(_answer(found, code))
    else:
        print_line(title(found))
        rows = [
            (item.word, _flat(item.folder), _flat("; ".join(item.problems + item.notes)))
            for item in found
        ]
        if rows:
            print_table("records", ("found", "record", "why"), rows)
        if code is not ExitCode.DONE and os.environ.get("GITHUB_ACTIONS") == "true":
            print_line(f"::error title={_escape(title(found))}::see the step summary")
    raise click.exceptions.Exit(int(code))


def _answer(found: list[Checked], code: ExitCode) -> dict[str, object]:
    return {
        "schema": "kakeya.records-check/1",
        "exit_code": int(code),
        "records": [
            {
                "folder": item.folder,
                "found": item.word,
                "exit_code": int(item.code),
                "problems": list(item.problems),
                "notes": list(item.notes),
            }
            for item in found
        ],
    }


def _flat(text: str) -> str:
    """One line in which GitHub's runner reads no command: it looks for `##[` anywhere."""
    return " ".join(text.split()).replace("##[", "## [")


def _escape(text: str) -> str:
    """The property of a workflow command."""
    flat = escape_controls(text).replace("%", "%25")
    return flat.replace(":", "%3A").replace(",", "%2C")
