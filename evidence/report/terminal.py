"""Records on a terminal: tables with rich."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evidence.report.text import (
    flatten,
    headline,
    interval_text,
    place,
    short,
    sort_gates,
    subline,
)

if TYPE_CHECKING:
    from evidence.compare import Comparison
    from evidence.verify import Verification

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "yellow",
    "missing": "magenta",
    "error": "bold red",
    "confirmed": "green",
    "refuted": "red",
    "partial": "yellow",
    "unresolved": "magenta",
}
_MAX_METRICS = 60


def print_gates(rows: Sequence[dict[str, Any]], verdict: str) -> None:
    """The rows of `evidence gate` and the overall verdict."""
    console = Console()
    console.print(_gate_table(rows))
    console.print(f"[{_STYLES[verdict]}]{verdict.upper()}[/]")


def _gate_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("verdict", "gate", "observed", "interval", "n", "why", title="Gates")
    for row in sort_gates([{"blocking": True, **row} for row in rows]):
        word = row.get("outcome") or row["verdict"]
        leaves = flatten(row) if "label" in row else []
        shown = [leaf for leaf in leaves if leaf["observed"] is not None][:4]
        problems = "; ".join(row.get("problems", ()))
        table.add_row(
            f"[{_STYLES[word]}]{word}[/]",
            escape(row["id"] + ("" if row["blocking"] else " (advisory)")),
            escape("\n".join(f"{short(leaf['observed'])} {leaf['threshold']}" for leaf in shown)),
            escape("\n".join(interval_text(leaf["ci"]) for leaf in shown)),
            "\n".join("" if leaf["n"] is None else str(leaf["n"]) for leaf in shown),
            escape("; ".join(filter(None, [row["message"], problems]))),
        )
    return table


def print_record(record: Mapping[str, Any]) -> None:
    """A record as tables."""
    console = Console()
    console.print(f"[bold]{escape(headline(record))}[/]")
    console.print(escape(subline(record)))
    console.print(_gate_table(record["gates"]))
    if record["predictions"]:
        table = Table("outcome", "prediction", "credence", "text", title="Predictions")
        for row in record["predictions"]:
            word = f"[{_STYLES[row['outcome']]}]{row['outcome']}[/]"
            table.add_row(word, escape(row["id"]), row["credence"] or "–", escape(row["text"]))
        console.print(table)
    console.print(_metric_table(record))
    for title, lines in (
        ("Doubts", [f"{row['check']}: {row['detail']}" for row in record["doubts"]]),
        ("Gaps", [f"{row['planned']} — {row['why']}" for row in record["gaps"]]),
    ):
        for line in lines:
            console.print(f"[yellow]{title[:-1].lower()}[/] {escape(line)}")


def _metric_table(record: Mapping[str, Any]) -> Table:
    table = Table("metric", "arm", "at", "value", "interval", "n", title="Metrics")
    for row in record["metrics"][:_MAX_METRICS]:
        unit = "" if row["unit"] in (None, "1") else f" {row['unit']}"
        table.add_row(
            escape(row["name"]),
            escape(row["arm"] or ""),
            escape(place(row)),
            escape(f"{short(row['value'])}{unit}"),
            escape(interval_text(row["ci"])),
            f"{row['k']}/{row['n']}" if row["k"] is not None else str(row["n"]),
        )
    if len(record["metrics"]) > _MAX_METRICS:
        table.caption = f"and {len(record['metrics']) - _MAX_METRICS} more in evidence.json"
    return table


def print_verification(found: Verification) -> None:
    """Whether a record holds, and every difference."""
    console = Console(soft_wrap=True)
    for one in found.differences:
        console.print(f"[red]differs[/] {escape(str(one))}")
    for note in found.notes:
        console.print(f"[yellow]note[/] {escape(note)}")
    if found.differences:
        console.print(
            f"[bold red]{len(found.differences)} differences[/]: do not trust this record"
        )
    elif found.recomputed:
        rows = (found.record["samples"] or {}).get("rows", 0)
        console.print(
            f"[green]sound[/]: {len(found.record['metrics'])} metrics and "
            f"{len(found.record['gates'])} verdicts recomputed from {rows} samples"
        )
    else:
        console.print("[yellow]not recomputed[/]")


def print_comparison(found: Comparison) -> None:
    """What moved between two records."""
    console = Console()
    word = "[green]comparable[/]" if found.comparable else "[bold yellow]not comparable[/]"
    console.print(f"{word}: {escape(found.why)}")
    table = Table("case", "change", "before", "after", title="Transitions")
    for row in found.transitions:
        table.add_row(escape(row["case"]), row["change"], row["before"], row["after"])
    if found.transitions:
        console.print(table)
    table = Table("metric", "arm", "at", "delta", "interval", "decided", title="Metrics")
    for one in found.deltas[:_MAX_METRICS]:
        table.add_row(
            escape(one["name"]),
            escape(one["arm"] or ""),
            escape(place(one)),
            short(one["delta"]),
            escape(interval_text(one["ci"])),
            one["decided"],
        )
    if found.deltas:
        console.print(table)
