"""`kakeya_remote evidence comment`: what a privileged workflow says about a proposal's records."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.output import print_line
from bridge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from bridge.client.github import GitHub
    from evidence.promoted import Checked

STATUS = "kakeya/evidence"


@click.command("comment")
@click.option(
    "--event",
    type=click.Path(path_type=Path),
    required=True,
    help="The event of a `workflow_run`, as JSON (GITHUB_EVENT_PATH).",
)
def comment_command(event: Path) -> None:
    """Judge a pull request's records again and say so there: one comment, one status.

    For a workflow that GitHub starts from the default branch, whatever the pull request changed.
    Nothing is taken from the first workflow's output: the records are fetched as git objects and
    judged here. Needs GITHUB_TOKEN, GITHUB_REPOSITORY, GITHUB_API_URL and GITHUB_SERVER_URL.
    """
    from evidence.judge import load_json
    from evidence.promoted import worst
    from evidence.report.markdown import MARKER
    from evidence.report.review import draw_comment, title

    github = _open()
    run = _run_of(load_json(event), str(event))
    number = github.find_proposal(run["owner"], run["branch"], run["commit"])
    if number is None:
        print_line("no open pull request has this head any more")
        return
    found = _judge(github, number, run["commit"])
    if found is None:
        print_line(f"pull request {number} has moved on or conflicts: its next run judges it")
        return
    comment = github.find_comment(number, MARKER)
    if found or comment is not None:
        github.write_comment(number, comment, draw_comment(found))
    passes = worst([item.code for item in found]) is ExitCode.DONE
    told = title(found)
    github.set_status(run["commit"], context=STATUS, success=passes, description=told)
    print_line(f"pull request {number}: {told}")


def _open() -> GitHub:
    from bridge.client.github import GitHub

    names = ("GITHUB_API_URL", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not set", where="environment")
    return GitHub(*(os.environ[name] for name in names))


def _run_of(event: Mapping[str, Any], where: str) -> dict[str, str]:
    """Owner, branch and commit of the pull request that a run was about."""
    from bridge.canonical import is_oid

    try:
        run = event["workflow_run"]
        found = {
            "owner": str(run["head_repository"]["owner"]["login"]),
            "branch": str(run["head_branch"]),
            "commit": str(run["head_sha"]),
        }
    except (KeyError, TypeError) as error:
        raise UsageError(f"no event of a workflow_run: {error} is missing", where=where) from error
    if not is_oid(found["commit"]):
        raise UsageError("$.workflow_run.head_sha is no commit", where=where)
    return found


def _judge(github: GitHub, number: int, commit: str) -> list[Checked] | None:
    """What the proposal's records are worth; None where no merge of `commit` is there (yet)."""
    from bridge.client.proposals import check_proposal
    from bridge.git import Git
    from bridge.objects import parse_commit

    ref = f"refs/pull/{number}/merge"
    os.environ.update(github.git_settings())
    with tempfile.TemporaryDirectory(prefix="kakeya-proposal-") as scratch:
        git = Git.create_cache(Path(scratch) / "proposal.git")
        try:
            # the merge and its parents: what is proposed, and what it is proposed to
            git.fetch(github.clone_url, [f"{ref}:refs/proposal"], depth=2)
            merge = git.resolve("refs/proposal")
            parents = parse_commit(git.read(merge)[1])[1] if merge else ()
            if merge is None or len(parents) != 2 or parents[1] != commit:
                return None
            return check_proposal(git, parents[0], merge)
        finally:
            git.close()
