"""One line of the site for each job, and how the browser gets ten thousand of them. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.client.accounting import JobUsage, usage_of
from bridge.client.census import Counted
from bridge.records import clean_text

FIRST, CHUNK = 400, 1200
"""Rows in the first file of jobs, which every visitor loads, and in each of the others."""
_MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the tables show it.

    Attributes:
        usage: what it took.
        code: the commit whose code it ran, "" where the request is malformed.
        hardware: the machine in words, "" where nobody tells.
        ended: whether it has its terminal record, so that its page is final.
        has_record: whether it has evidence.
    """

    usage: JobUsage
    code: str
    hardware: str
    ended: bool
    has_record: bool

    @property
    def path(self) -> str:
        """The job's page, from the top of the site."""
        return job_path(self.usage.id)

    @property
    def tone(self) -> str:
        """The colour of its end: a verdict's name, or `going`."""
        return tone_of(self.usage.state, self.usage.verdict)


def job_path(job_id: str) -> str:
    """The page of a job: a few hundred files lie in each folder."""
    return f"jobs/{job_id[-2:].lower()}/{job_id}.html"


def tone_of(state: str, verdict: str | None) -> str:
    """The name of the colour that stands for how a job ended."""
    if state == "done":
        return verdict or "missing"
    if state in ("queued", "claimed", "running"):
        return "going"
    return "missing" if state in ("cancelled", "expired") else "fail"


def row_of(one: Counted) -> Row:
    """The row of a job."""
    request = one.chain.request
    return Row(
        usage=usage_of(one.chain, one.record),
        code=request.code if request else "",
        hardware=hardware_of(one.record),
        ended=one.chain.ended,
        has_record=one.record is not None,
    )


def hardware_of(record: Mapping[str, Any] | None) -> str:
    """The machine of a record in words: its accelerators, else its processor."""
    facts = record.get("hardware") if record else None
    if not isinstance(facts, Mapping):
        return ""
    found = facts.get("accelerators")
    names = [
        str(item["name"])
        for item in (found if isinstance(found, list) else [])
        if isinstance(item, Mapping) and isinstance(item.get("name"), str)
    ]
    if names:
        count = f"{len(names)} × " if len(names) > 1 else ""
        return clean_text(f"{count}{names[0]}", _MAX_NAME)
    cpu = facts.get("cpu")
    return clean_text(cpu, _MAX_NAME) if isinstance(cpu, str) else ""


def row_as_json(row: Row) -> dict[str, Any]:
    """The row as it is kept between two builds; the inverse of `row_from_json`."""
    return dataclasses.asdict(row)


def row_from_json(data: Mapping[str, Any]) -> Row:
    """The row that an earlier build kept."""
    return Row(**{**data, "usage": JobUsage(**data["usage"])})


def split_rows(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows by the file that they go into; the first one is small."""
    rest = range(FIRST, len(rows), CHUNK)
    return [rows[:FIRST], *(rows[start : start + CHUNK] for start in rest)]


def script_of(index: int, rows: Sequence[Row]) -> str:
    """A file of jobs: a script, since a page that was opened from a disk may load no other data.

    Words that repeat are told once; each row then names them by number.
    """
    words: dict[str, dict[str, int]] = {name: {} for name in ("preset", "runner", "requester")}

    def number(kind: str, word: str) -> int:
        return words[kind].setdefault(word, len(words[kind]))

    lines = [
        [
            row.usage.id,
            number("preset", row.usage.preset),
            row.usage.state,
            row.usage.verdict or "",
            number("runner", row.usage.runner),
            number("requester", row.usage.requester),
            _seconds(row.usage.queue_s),
            _seconds(row.usage.run_s),
        ]
        for row in rows
    ]
    data = {name: list(found) for name, found in words.items()} | {"rows": lines}
    return f"kakeyaJobs({index},{_script_json(data)});\n"


def _script_json(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a script file: ASCII alone, and nothing that ends one inside HTML."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def counts_of(rows: Iterable[Row]) -> dict[str, int]:
    """How many jobs wait, go on, passed, failed a gate, failed, and ended otherwise."""
    found = dict.fromkeys(("all", "queued", "going", "pass", "fail", "failed", "other"), 0)
    for row in rows:
        state, verdict = row.usage.state, row.usage.verdict
        found["all"] += 1
        if state in ("claimed", "running"):
            found["going"] += 1
        elif state == "queued":
            found["queued"] += 1
        elif state == "done":
            found[verdict if verdict in ("pass", "fail") else "other"] += 1
        else:
            found["failed" if state in ("failed", "lost", "rejected") else "other"] += 1
    return found
