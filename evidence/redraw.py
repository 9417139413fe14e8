"""Draw a record's reports again, from the record and the samples beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge import schema
from evidence.compare import compare
from evidence.gating import load_view
from evidence.judge import load_json, write_reports
from evidence.packed import read_packed
from evidence.record import assemble
from evidence.report.markdown import draw_markdown
from evidence.verify import find_record, material_of


@dataclass(frozen=True, slots=True)
class Drawn:
    """The Markdown, the files that were written, and what could not be drawn."""

    markdown: str
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def redraw(path: Path, *, out: Path | None, base: Path | None) -> Drawn:
    """Draw the reports of the record at `path`; files are written only below `out`.

    Raises:
        UsageError: no record, or not one of this schema.
    """
    file = find_record(path)
    record = load_json(file)
    schema.check(record, schema.load("evidence", "evidence"), where=str(file))
    lines: list[str] = []
    if base is not None:
        found = compare(load_view(base), load_view(file))
        lines = [f"{row['case']}: {row['change']}" for row in found.transitions]
        lines.append(f"{'comparable' if found.comparable else 'not comparable'}: {found.why}")
    markdown = draw_markdown(record, transitions=lines)
    if out is None:
        return Drawn(markdown, (), ())
    samples = file.parent / (record["samples"] or {}).get("path", "samples.jsonl")
    data = read_packed(samples)
    out.mkdir(parents=True, exist_ok=True)
    files, notes = write_reports(assemble(material_of(record, data)), out, transitions=lines)
    return Drawn(markdown, files, notes)
