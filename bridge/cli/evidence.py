"""`kakeya_remote evidence`: judge, verify, show, compare, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.comment import comment_command
from bridge.cli.output import escape_controls, print_json, print_line, print_table, say
from bridge.cli.promote import promote_command
from bridge.cli.records import check_command
from bridge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from evidence.assurance import Standing
    from evidence.report.tables import Table
    from evidence.verify import Verification

_FILE = click.Path(path_type=Path)


@click.group("evidence")
def evidence_group() -> None:
    """Judge records, verify them from their samples, show and compare them.

    \b
    Example:
      kakeya_remote evidence verify .kakeya/results/01JMG19Y00ABCDEFGHJKMNPQRS
    """


evidence_group.add_command(check_command)
evidence_group.add_command(comment_command)
evidence_group.add_command(promote_command)


@evidence_group.command("gate")
@click.option("--gates", "gates_file", type=_FILE, required=True, help="Gates, as JSON.")
@click.option("--record", type=_FILE, help="The record to judge; the gates may bring their own.")
@click.option("--base", "bases", multiple=True, metavar="NAME=FILE", help="A named baseline.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def gate_command(
    gates_file: Path, record: Path | None, bases: tuple[str, ...], as_json: bool
) -> None:
    """Judge any record by any gates.

    Ends 0 if every blocking gate passes, 6 if one fails, 10 if one is inconclusive or missing,
    2 if a gate or file cannot be read.
    """
    from evidence.gating import judge_files

    answer = judge_files(gates_file, record, dict(_split(item) for item in bases))
    if as_json:
        print_json(answer)
    else:
        from evidence.report.tables import gate_table

        _print_tables([gate_table(answer["gates"])])
        print_line(answer["verdict"])
    raise click.exceptions.Exit(answer["exit_code"])


@evidence_group.command("verify")
@click.argument("path", type=_FILE)
@click.option("--artifacts", type=_FILE, help="Folder of the artifacts, to check their digests.")
@click.option("--signers", type=_FILE, help="Trusted keys: lines of `name ssh-ed25519 AAAA...`.")
@click.option("--replay", type=_FILE, help="The record of another runner's run of the same work.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def verify_command(
    path: Path, artifacts: Path | None, signers: Path | None, replay: Path | None, as_json: bool
) -> None:
    """Derive a record again from its samples and name every difference.

    Ends 0 if it holds, 4 if anything differs, 10 if its samples are not here.
    """
    from evidence.assurance import Replay, derive_assurance
    from evidence.verify import verify

    found = verify(path, artifacts=artifacts, signers=signers)
    replays = []
    if replay is not None:
        other = verify(replay, signers=signers)
        replays = [] if other.differences else [Replay(other.record, other.signers)]
    standing = None if found.differences else derive_assurance(found.record, found.signers, replays)
    code = ExitCode.DONE if found.recomputed else ExitCode.INCONCLUSIVE
    code = ExitCode.REFUSED if found.differences else code
    if as_json:
        print_json(_verification(found, standing, code))
    else:
        _tell_verification(found, standing)
    raise click.exceptions.Exit(int(code))


def _verification(found: Verification, standing: Standing | None, code: ExitCode) -> dict[str, Any]:
    return {
        "schema": "kakeya.verification/1",
        "sound": code is ExitCode.DONE,
        "exit_code": int(code),
        "recomputed": found.recomputed,
        "signers": list(found.signers),
        "assurance": standing.assurance.value if standing else None,
        "other_hardware": standing.other_hardware if standing else None,
        "differences": [
            {"path": one.path, "recorded": one.recorded, "recomputed": one.recomputed}
            for one in found.differences
        ],
        "notes": list(found.notes),
    }


@evidence_group.command("show")
@click.argument("path", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="The record itself on stdout.")
def show_command(path: Path, as_json: bool) -> None:
    """Show a record as tables: gates, predictions, metrics, gaps."""
    record = _read(path)
    if as_json:
        print_json(record)
        return
    print_record(record)


def print_record(record: Mapping[str, Any]) -> None:
    """A record as its first two lines and tables."""
    from evidence.report.tables import record_tables
    from evidence.report.text import headline, subline

    print_line(escape_controls(headline(record)))
    print_line(escape_controls(subline(record)))
    _print_tables(record_tables(record))


@evidence_group.command("compare")
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def compare_command(before: Path, after: Path, as_json: bool) -> None:
    """What moved between two records, by how much, and whether they may be compared.

    Ends 6 if a case went from pass to fail, 10 if one vanished, else 0.
    """
    from evidence.compare import compare
    from evidence.gating import load_view

    found = compare(load_view(before), load_view(after))
    changes = {row["change"] for row in found.transitions}
    if as_json:
        print_json(found.as_json())
    else:
        from evidence.report.tables import comparison_tables

        word = "comparable" if found.comparable else "not comparable"
        print_line(escape_controls(f"{word}: {found.why}"))
        _print_tables(comparison_tables(found))
    code = ExitCode.INCONCLUSIVE if "vanished" in changes else ExitCode.DONE
    raise click.exceptions.Exit(int(ExitCode.GATE_FAILED if "PASS→FAIL" in changes else code))


@evidence_group.command("report")
@click.argument("path", type=_FILE)
@click.option("--out", type=_FILE, help="Folder for report.md, report.html and the plots.")
@click.option("--base", type=_FILE, help="An earlier record: its transitions are listed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def report_command(path: Path, out: Path | None, base: Path | None, as_json: bool) -> None:
    """Draw a record's reports again; without --out the Markdown goes to stdout."""
    from evidence.redraw import redraw

    drawn = redraw(path, out=out, base=base)
    if as_json:
        answer = {"files": [str(file) for file in drawn.files], "notes": list(drawn.notes)}
        print_json({"schema": "kakeya.report/1", **answer})
        return
    if out is None:
        print_line(escape_controls(drawn.markdown))
    for file in drawn.files:
        print_line(str(file))
    for note in drawn.notes:
        say(note)


def _tell_verification(found: Verification, standing: Standing | None) -> None:
    for one in found.differences:
        print_line(escape_controls(f"differs  {one}"))
    for note in found.notes:
        say(note)
    record = found.record
    if found.differences:
        say(f"{len(found.differences)} differences: do not trust this record")
    elif found.recomputed:
        rows = (record["samples"] or {}).get("rows", 0)
        told = f"{len(record['metrics'])} metrics and {len(record['gates'])} verdicts"
        print_line(f"sound: {told} recomputed from {rows} samples")
    else:
        print_line("not recomputed")
    if standing is not None:
        print_line(escape_controls(f"assurance: {standing.assurance} ({standing.why})"))


def _print_tables(tables: Sequence[Table]) -> None:
    for table in tables:
        print_line("")
        print_table(table.title, table.columns, table.rows)


def _read(path: Path) -> dict[str, Any]:
    from bridge import schema
    from evidence.judge import load_json
    from evidence.verify import find_record

    file = find_record(path)
    record = load_json(file)
    schema.check(record, schema.load("evidence", "evidence"), where=str(file))
    return record


def _split(item: str) -> tuple[str, Path]:
    name, found, path = item.partition("=")
    if not found or not name or not path:
        raise UsageError(f"{item!r} is not NAME=FILE", where="--base")
    return name, Path(path)
