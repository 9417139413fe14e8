"""The report as one self-contained page: no script, no network, light and dark, phone to desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import islice
from typing import Any

from evidence.numbers import format_value
from evidence.record import Assembled
from evidence.report.svg import ARM_STYLE, Plot
from evidence.report.text import (
    flatten,
    headline,
    interval_text,
    place,
    preset_name,
    short,
    sort_gates,
    subline,
    verify_command,
)
from evidence.samples import Sample

MAX_SAMPLE_ROWS = 300


def draw_page(assembled: Assembled, plots: Sequence[Plot], transitions: Sequence[str] = ()) -> str:
    """The page of a record.

    Raises:
        ImportError: jinja2 is not installed (extra: reports).
    """
    import jinja2
    from markupsafe import Markup

    folder = resources.files("evidence").joinpath("templates")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"short": short, "interval": interval_text, "place": place}
    template = environment.from_string(folder.joinpath("report.html.j2").read_text("utf-8"))
    record = assembled.record
    return template.render(
        record=record,
        headline=headline(record),
        subline=subline(record),
        name=preset_name(record),
        gates=[_gate(row) for row in sort_gates(record["gates"])],
        gaps=sorted(record["gaps"], key=lambda row: not row["load_bearing"]),
        plots=[{"plot": plot, "svg": Markup(plot.svg)} for plot in plots],  # noqa: S704 - escaped
        style=Markup(read_style()),  # noqa: S704 - our file
        transitions=list(transitions),
        samples=[_sample(row) for row in islice(assembled.selection.counted, MAX_SAMPLE_ROWS)],
        sample_count=len(assembled.selection.counted),
        command=verify_command(record),
        facts=_facts(record),
    )


def read_style() -> str:
    """The style sheet of a page, with the colours of arms."""
    sheet = resources.files("evidence").joinpath("templates", "report.css")
    return sheet.read_text("utf-8") + ARM_STYLE


def _gate(row: Mapping[str, Any]) -> dict[str, Any]:
    leaves = [leaf for leaf in flatten(row) if leaf["observed"] is not None]
    return {"note": "", **row, "leaves": leaves}


def _sample(row: Sample) -> dict[str, str]:
    return {
        "line": str(row.line),
        "arm": row.arm,
        "seed": row.seed,
        "at": ", ".join(f"{name}={value}" for name, value in row.at),
        "unit": row.unit,
        "measure": row.measure,
        "score": row.error if row.score is None else short(format_value(row.score)),
    }


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    samples = record["samples"] or {}
    pairs = [
        ("request", record["request"].get("digest")),
        ("request commit", record["request"].get("commit")),
        ("preset", record["preset"].get("digest")),
        ("code", record["code"].get("commit")),
        ("trusted commit", record["trusted"].get("commit")),
        ("evaluator", record["evaluator"]["digest"]),
        ("samples", f"{samples.get('rows', 0)} rows, {samples.get('sha256', 'none')}"),
        ("runner", record["runner"].get("name") or record["runner"].get("id")),
        ("hardware", record["hardware"].get("cpu")),
        ("attempts", str(len(record["attempts"]))),
        ("seeds run", ", ".join(record["seeds"]["run"])),
    ]
    pairs += [(f"input {item['role']}", item["digest"]) for item in record["inputs"]]
    return [(name, str(value)) for name, value in pairs if value]
