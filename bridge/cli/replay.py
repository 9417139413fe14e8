"""`kakeya_remote replay`: run an ended job again and compare the two records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client, resume_hint
from bridge.cli.output import escape_controls, print_json, print_line, print_table, say
from bridge.cli.watching import make_watcher
from bridge.errors import ExitCode

if TYPE_CHECKING:
    from bridge.client.replaying import Replayed


@click.command("replay")
@click.argument("job_id", metavar="ID")
@click.option("--elsewhere", is_flag=True, help="On any runner but the one that ran it.")
@click.option("--runner", metavar="NAME", help="On this runner alone.")
@click.option(
    "--signers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Trusted keys.  [default: those that HEAD enrols]",
)
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Bounds the waiting.")
@bus_options()
def replay_command(
    job_id: str,
    elsewhere: bool,
    runner: str | None,
    signers: Path | None,
    timeout_s: float | None,
    **given: Any,
) -> None:
    """Run an ended job again, wait, and compare the two records.

    Ends 0 where every gate came to the same verdict, 6 where one did not, 4 where a record does not
    hold; with the exit code of the replay's own end where it left no record.

    \b
    Example:
      kakeya_remote replay 01JMG19Y00ABCDEFGHJKMNPQRS --elsewhere
    """
    from bridge.client.replaying import judge_replay

    shared = merge_shared(given)
    with open_client(shared, make_watcher(quiet=shared["as_json"])) as client:
        submission = client.replay(job_id, runner=runner, elsewhere=elsewhere)
        if shared["as_json"]:
            say(f"job {submission.id}")
        else:
            print_line(submission.id)
        try:
            outcome = client.wait(submission.id, timeout_s)
        except KeyboardInterrupt:
            say(f"\ndetached; resume: {resume_hint(submission.id, shared)}")
            raise SystemExit(int(ExitCode.INTERRUPTED)) from None
        result = outcome.status.result
        if result is None or result.evidence is None:
            if shared["as_json"]:
                print_json(outcome.as_json())
            else:
                print_line(outcome.message)
            raise SystemExit(int(outcome.exit_code or ExitCode.INCONCLUSIVE))
        found = judge_replay(client, outcome, signers)
    if shared["as_json"]:
        print_json(found.as_json())
    else:
        show_replay(found)
    raise SystemExit(int(found.exit_code))


def show_replay(found: Replayed) -> None:
    """A replay for a person: what moved, and what it says of the first record."""
    from evidence.report.tables import comparison_tables

    for line in found.faults:
        print_line(escape_controls(f"differs  {line}"))
    if found.comparison is not None:
        word = "comparable" if found.comparison.comparable else "not comparable"
        print_line(escape_controls(f"{word}: {found.comparison.why}"))
        for table in comparison_tables(found.comparison):
            print_line("")
            print_table(table.title, table.columns, table.rows)
    if found.disagree:
        print_line(f"disagree on: {', '.join(found.disagree)}")
    print_line(escape_controls(found.message))
