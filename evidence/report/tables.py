"""Records as plain tables of words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evidence.report.text import flatten, interval_text, place, short, sort_gates

if TYPE_CHECKING:
    from evidence.compare import Comparison

MAX_METRICS = 60


@dataclass(frozen=True, slots=True)
class Table:
    """A title, column names and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def gate_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Gates, failures first: one line for each comparison inside."""
    lines: list[tuple[str, ...]] = []
    for row in sort_gates([{"blocking": True, **row} for row in rows]):
        leaves = [leaf for leaf in flatten(row) if leaf.get("observed") is not None]
        problems = "; ".join(row.get("problems", ()))
        why = "; ".join(filter(None, [row["message"], problems]))
        name = row["id"] if row["blocking"] else f"{row['id']} (advisory)"
        head = (row.get("outcome") or row["verdict"], name)
        first, *others = [_leaf_cells(leaf) for leaf in leaves] or [("", "", "", "")]
        lines.append((*head, *first, why))
        lines += [("", "", *cells, "") for cells in others]
    return Table(
        "gates", ("verdict", "gate", "of", "observed", "interval", "n", "why"), tuple(lines)
    )


def _leaf_cells(leaf: Mapping[str, Any]) -> tuple[str, str, str, str]:
    size = "" if leaf["n"] is None else str(leaf["n"])
    seen = f"{short(leaf['observed'])} {leaf['threshold']}"
    return leaf["label"], seen, interval_text(leaf["ci"]), size


def record_tables(record: Mapping[str, Any]) -> list[Table]:
    """A whole record: gates, doubts, predictions, gaps, metrics; empty ones are left out."""
    predictions = [
        (row["outcome"], row["id"], row["credence"] or "–", row["text"])
        for row in record["predictions"]
    ]
    gaps = [
        (row["planned"], row["why"], "yes" if row["load_bearing"] else "no")
        for row in record["gaps"]
    ]
    doubts = [(row["check"], row["detail"]) for row in record["doubts"]]
    found = [
        gate_table(record["gates"]),
        Table("doubts", ("check", "detail"), tuple(doubts)),
        Table("predictions", ("outcome", "prediction", "credence", "text"), tuple(predictions)),
        Table("gaps", ("planned", "what happened", "bears load"), tuple(gaps)),
        metric_table(record),
    ]
    return [table for table in found if table.rows]


def metric_table(record: Mapping[str, Any]) -> Table:
    """The metrics, at most 60."""
    rows = [
        (
            row["name"],
            row["arm"] or "",
            place(row),
            short(row["value"]) + ("" if row["unit"] in (None, "1") else f" {row['unit']}"),
            interval_text(row["ci"]),
            f"{row['k']}/{row['n']}" if row["k"] is not None else str(row["n"]),
        )
        for row in record["metrics"]
    ]
    more = f" ({MAX_METRICS} of {len(rows)})" if len(rows) > MAX_METRICS else ""
    columns = ("metric", "arm", "at", "value", "interval", "n")
    return Table(f"metrics{more}", columns, tuple(rows[:MAX_METRICS]))


def comparison_tables(found: Comparison) -> list[Table]:
    """What moved between two records, and by how much."""
    moved = [(row["change"], row["case"], row["before"], row["after"]) for row in found.transitions]
    deltas = [
        (
            one["decided"],
            one["name"],
            one["arm"] or "",
            place(one),
            short(one["delta"]),
            interval_text(one["ci"]),
        )
        for one in found.deltas[:MAX_METRICS]
    ]
    tables = [
        Table("transitions", ("change", "case", "before", "after"), tuple(moved)),
        Table("metrics", ("decided", "metric", "arm", "at", "delta", "interval"), tuple(deltas)),
    ]
    return [table for table in tables if table.rows]
