"""`kakeya_remote runner key`, `enroll` and `revoke`: whose signatures count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli import service as _service  # noqa: F401 - its commands join the group
from bridge.cli.output import print_json, print_line, say
from bridge.cli.runner import load_runner, runner_group, runner_options

if TYPE_CHECKING:
    from bridge.client.checkout import Checkout
    from bridge.client.enrolment import Change

_ONTO = click.option("--onto", default="HEAD", show_default=True, help="What the branch stands on.")
_PUSH = click.option("--push", metavar="URL|NAME", help="Push the branch there, such as `origin`.")
_INTO = click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="The checkout whose repository takes the branch.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@runner_group.command("key")
@runner_options
def key_command(**given: Any) -> None:
    """Print this runner's public key, made if there is none: the line that others enrol.

    \b
    Example:
      kakeya_remote runner key --bus /srv/bus.git
    """
    from bridge.runner.key import load_key

    config = load_runner(given)
    print_line(load_key(config.state_dir, config.name).public)


@runner_group.command("enroll")
@runner_options
@click.option("--rotate", is_flag=True, help="Make and enrol the key that replaces this one.")
@click.option("--line", metavar="TEXT", help="Another machine's line, as `runner key` printed it.")
@_INTO
@_ONTO
@_PUSH
@_JSON
def enroll_command(
    *, rotate: bool, line: str | None, into: Path | None, onto: str, push: str | None, **given: Any
) -> None:
    """Put this runner's key on a branch that lists it, to be reviewed and merged.

    A key counts once the commit that a reader trusts lists it in evidence/signers. With --rotate
    a second key is made; the runner goes over to it at the first start at which its trusted
    commit lists it. The old key stays listed, for what it signed.

    \b
    Examples:
      kakeya_remote runner enroll --push origin
      kakeya_remote runner enroll --rotate --push origin
    """
    from bridge.client.enrolment import enrol

    as_json = bool(given.pop("as_json"))
    if line is None:
        from bridge.runner.key import load_key, load_next_key

        config = load_runner(given)
        load = load_next_key if rotate else load_key
        line = load(config.state_dir, config.name).public
        into = into or config.trusted
    with_checkout = _checkout(into)
    change = enrol(with_checkout, line, onto)
    _finish(change, with_checkout, push, as_json=as_json)


@runner_group.command("revoke")
@click.argument("what", metavar="NAME|SHA256:...")
@_INTO
@_ONTO
@_PUSH
@_JSON
def revoke_command(
    what: str, *, into: Path | None, onto: str, push: str | None, as_json: bool
) -> None:
    """Put keys on a branch that revokes them, to be reviewed and merged.

    What a revoked key signed counts for nothing, old steps neither: a date can be written by
    whoever holds the key. Jobs that it ended and that are not folded yet are queued again.

    \b
    Example:
      kakeya_remote runner revoke mac-m4 --push origin
    """
    from bridge.client.enrolment import revoke

    checkout = _checkout(into)
    _finish(revoke(checkout, what, onto), checkout, push, as_json=as_json)


def _checkout(folder: Path | None) -> Checkout:
    from bridge.client.checkout import find_checkout
    from bridge.errors import UsageError

    place = (folder or Path.cwd()).absolute()
    found = find_checkout(place)
    if found is None:
        raise UsageError(
            "is no git checkout",
            where=str(place),
            remedy="name a clone of the repository that the runners trust: --into DIR",
        )
    return found


def _finish(change: Change, checkout: Checkout, push: str | None, *, as_json: bool) -> None:
    from bridge.client.branches import push_branch

    if push:
        push_branch(checkout, change.branch, change.commit, push)
    if as_json:
        print_json(change.as_json())
        return
    print_line(change.branch)
    for line in change.lines:
        say(f"  + {line}")
    where = f"to {push}" if push else f"in {checkout.root}; to have it reviewed, push it"
    say(f"{change.path} of commit {change.base[:12]}, {where}")
    say("it counts for a reader as soon as the commit that they trust holds it")
