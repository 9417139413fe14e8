"""The report in Markdown: for a pull request comment, a step summary and a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from evidence.report.text import (
    flatten,
    headline,
    interval_text,
    place,
    short,
    sort_gates,
    subline,
    verify_command,
)

MAX_CHARACTERS = 65_536  # the limit of a comment
MARKER = "<!-- kakeya-evidence -->"
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "missing": "⬜", "error": "💥"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def draw_markdown(record: Mapping[str, Any], *, transitions: Sequence[Any] = ()) -> str:
    """The report, at most 65,536 characters; what does not fit is counted, never dropped silently.

    Args:
        record: an evidence record.
        transitions: lines of a comparison with a baseline, where one was made.
    """
    head = [
        MARKER,
        f"**{headline(record)}**",
        "",
        escape(subline(record)),
    ]
    sections: list[tuple[str, Callable[[int], list[str]]]] = [
        ("Gates", lambda limit: _gates(record, limit)),
        ("Doubts", lambda limit: _bullets(_doubts(record), limit)),
        ("Predictions", lambda limit: _predictions(record, limit)),
        ("Transitions", lambda limit: _bullets([str(line) for line in transitions], limit)),
        ("Controls", lambda limit: _controls(record, limit)),
        ("Gaps", lambda limit: _bullets(_gaps(record), limit)),
        ("Metrics", lambda limit: _metrics(record, limit)),
        ("Exploratory", lambda limit: _folded(_exploratory(record), limit)),
    ]
    tail = ["### Provenance", "", *_provenance(record), "", "_Conclusions are the reader's._", ""]
    for limit in (1000, 200, 60, 20, 5):
        body: list[str] = []
        for title, draw in sections:
            lines = draw(limit)
            body += ["", f"### {title}", "", *lines] if lines else []
        text = "\n".join([*head, *body, "", *tail])
        if len(text) <= MAX_CHARACTERS:
            return text
    return "\n".join([*head, "", "The report does not fit here: see report.html.", "", *tail])[
        :MAX_CHARACTERS
    ]


MAX_LEAVES = 4
MAX_OPEN_ROWS = 24
_LINE = "\x1e"  # parts cells of a table into lines; escape() turns it into a break


def escape(text: object) -> str:
    """Text of a record as inert Markdown: no markup, no link, no mention, no second line."""
    return "<br>".join(_escape_line(part) for part in str(text).split(_LINE))


def _escape_line(text: str) -> str:
    flat = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", flat).replace("@", "@\u200b").replace("://", ":\u200b//")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], limit: int) -> list[str]:
    kept = list(rows)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(escape(cell) for cell in row)} |" for row in kept[:limit]]
    if len(kept) > limit:
        lines += ["", f"and {len(kept) - limit} more in report.html"]
    return lines if kept else []


def _bullets(lines: Sequence[str], limit: int) -> list[str]:
    shown = [f"- {escape(line)}" for line in lines[:limit]]
    return shown + ([f"- and {len(lines) - limit} more"] if len(lines) > limit else [])


def _folded(lines: Sequence[str], limit: int) -> list[str]:
    if not lines:
        return []
    head = f"<details><summary>{len(lines)} things without a plan: they decide nothing</summary>"
    return [head, "", *_bullets(lines, limit), "", "</details>"]


def _gates(record: Mapping[str, Any], limit: int) -> list[str]:
    rows = []
    for row in sort_gates(record["gates"]):
        leaves = [leaf for leaf in flatten(row) if leaf["observed"] is not None]
        shown = sorted(leaves, key=lambda leaf: leaf.get("verdict") == "pass")[:MAX_LEAVES]
        observed = [_observed(leaf) for leaf in shown]
        if len(leaves) > MAX_LEAVES:
            observed.append(f"and {len(leaves) - MAX_LEAVES} more")
        rows.append(
            (
                f"{_MARKS[row['verdict']]} {row['verdict']}",
                row["id"] + ("" if row["blocking"] else " (advisory)"),
                _distinct(leaf["threshold"] for leaf in leaves),
                _LINE.join(observed),
                "one sample flips it" if row["loo_flips"] else "",
                row["message"],
            )
        )
    header = ("verdict", "gate", "threshold", "observed [interval] n", "leave-one-out", "why")
    return _table(header, rows, limit) or ["No gate was set: that is not a pass."]


def _distinct(words: Iterable[str]) -> str:
    return _LINE.join(dict.fromkeys(word for word in words if word))


def _observed(leaf: Mapping[str, Any]) -> str:
    size = f" n={leaf['n']}" if leaf["n"] is not None else ""
    interval = f" {interval_text(leaf['ci'])}" if leaf["ci"] else ""
    return f"{leaf['label']} {short(leaf['observed'])}{interval}{size}"


def _doubts(record: Mapping[str, Any]) -> list[str]:
    return [f"{item['check']}: {item['detail']}" for item in record["doubts"]]


def _predictions(record: Mapping[str, Any], limit: int) -> list[str]:
    rows = [
        (
            row["outcome"],
            row["id"],
            row["credence"] or "–",
            row["text"],
            f"in the {row['registered']}",
        )
        for row in record["predictions"]
    ]
    return _table(("outcome", "prediction", "credence", "text", "registered"), rows, limit)


def _controls(record: Mapping[str, Any], limit: int) -> list[str]:
    rows = [(f"{_MARKS[row['verdict']]} {row['verdict']}", row["id"]) for row in record["controls"]]
    return _table(("verdict", "control"), rows, limit)


def _gaps(record: Mapping[str, Any]) -> list[str]:
    rows = sorted(record["gaps"], key=lambda row: not row["load_bearing"])
    return [
        f"{'bears load: ' if row['load_bearing'] else ''}{row['planned']} — {row['why']}"
        for row in rows
    ]


def _metrics(record: Mapping[str, Any], limit: int) -> list[str]:
    rows = [
        (
            row["name"],
            row["arm"] or "",
            place(row),
            short(row["value"]),
            interval_text(row["ci"]),
            f"{row['k']}/{row['n']}" if row["k"] is not None else row["n"],
            "" if row["unit"] in (None, "1") else row["unit"],
            row["reducer"],
        )
        for row in record["metrics"]
    ]
    header = ("metric", "arm", "at", "value", "interval", "n", "unit", "reducer")
    table = _table(header, rows, limit)
    if len(rows) <= MAX_OPEN_ROWS:
        return table
    head = f"<details><summary>{len(rows)} metrics</summary>"
    return [head, "", *table, "", "</details>"]


def _exploratory(record: Mapping[str, Any]) -> list[str]:
    return [f"{row['what']} ({row['rows']} rows)" for row in record["exploratory"]]


def _provenance(record: Mapping[str, Any]) -> list[str]:
    samples = record["samples"] or {}
    pairs = [
        ("request", record["request"].get("digest")),
        ("preset", f"{record['preset'].get('name', '')} {record['preset'].get('digest', '')}"),
        ("code", record["code"].get("commit")),
        ("evaluator", record["evaluator"]["digest"]),
        ("samples", f"{samples.get('rows', 0)} rows, {samples.get('sha256', 'none')}"),
        ("seeds", f"{len(record['seeds']['run'])} of {len(record['seeds']['planned'])} planned"),
        ("attempts", len(record["attempts"])),
    ]
    lines = [f"- {name}: {escape(value)}" for name, value in pairs if value not in (None, " ", "")]
    lines += [f"- input {escape(item['role'])}: {item['digest']}" for item in record["inputs"][:20]]
    return [*lines, "", "```sh", verify_command(record), "```"]
