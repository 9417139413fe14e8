"""Judge a finished job: files in, evidence.json and reports out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import canonical, schema
from bridge.errors import IntegrityError, MissingPartError, UsageError
from evidence.packed import read_packed
from evidence.record import Assembled, Material, assemble

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class JudgeInput:
    """The files that a judgement reads.

    Attributes:
        facts: what the runner knows, JSON.
        samples: samples.jsonl; absent where the job wrote none.
        spec: metrics, gates, plots, plan, predictions, JSON.
        out: the folder that takes evidence.json and the reports.
        artifacts: the folder that the artifacts of `facts` are checked in, or None.
        bases: baseline records by alias.
    """

    facts: Path
    samples: Path
    spec: Path
    out: Path
    artifacts: Path | None = None
    bases: Mapping[str, Path] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a judgement wrote: the record, the files, and what could not be drawn."""

    assembled: Assembled
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def judge(given: JudgeInput) -> Written:
    """Judge, then write evidence.json, report.md and (where the parts are there) report.html.

    Raises:
        UsageError: a file cannot be read or does not have its shape.
        IntegrityError: an artifact differs from what the facts say of it.
    """
    facts = load_json(given.facts)
    check_artifacts(facts.get("artifacts", ()), given.artifacts)
    material = Material(
        facts=facts,
        spec=load_json(given.spec),
        samples=given.samples.read_bytes() if given.samples.is_file() else None,
        bases={name: load_json(path) for name, path in (given.bases or {}).items()},
    )
    assembled = assemble(material)
    schema.check(assembled.record, schema.load("evidence", "evidence"), where="evidence.json")
    given.out.mkdir(parents=True, exist_ok=True)
    files = [_write(given.out / "evidence.json", canonical.encode(assembled.record) + b"\n")]
    if material.samples is not None:
        files.append(_write(given.out / material.samples_path, material.samples))
    reports, notes = write_reports(assembled, given.out)
    return Written(assembled, (*files, *reports), notes)


def write_reports(
    assembled: Assembled, out: Path, *, transitions: Sequence[str] = ()
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write report.md, report.html and the plots; without the extra `reports`, report.md alone."""
    from evidence.report.markdown import draw_markdown

    text = draw_markdown(assembled.record, transitions=transitions)
    files = [_write(out / "report.md", text.encode())]
    try:
        from evidence.report.page import draw_page
        from evidence.report.plots import draw_plots

        plots = draw_plots(assembled)
        files.append(_write(out / "report.html", draw_page(assembled, plots, transitions).encode()))
        files += [_write(out / f"{plot.name}.svg", plot.svg.encode()) for plot in plots]
    except ImportError as error:
        missing = error.name or "a package"
        return tuple(files), (f"no report.html: {missing} is not installed (extra: reports)",)
    return tuple(files), ()


def load_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or from its compressed form beside that name.

    Raises:
        MissingPartError: no such file.
        UsageError: not JSON, or no object.
    """
    try:
        data = read_packed(path)
    except OSError as error:
        raise MissingPartError(error.strerror or str(error), where=str(path)) from error
    if data is None:
        raise MissingPartError("no such file", where=str(path))
    value = canonical.decode(data, where=str(path), max_bytes=MAX_DOCUMENT_BYTES)
    if not isinstance(value, dict):
        raise UsageError("a JSON object is wanted", where=str(path))
    return value


def check_artifacts(artifacts: Any, folder: Path | None) -> None:
    """Compare artifacts with their digests.

    Raises:
        IntegrityError: `problems` names each that is gone or differs.
    """
    if folder is None:
        return
    problems = [problem for item in artifacts if (problem := artifact_problem(item, folder))]
    if problems:
        raise IntegrityError(
            "artifacts differ from their digests", where=str(folder), problems=tuple(problems)
        )


def artifact_problem(item: Mapping[str, Any], folder: Path) -> str:
    """What is wrong with one artifact, "" where it is as recorded."""
    path = (folder / item["path"]).resolve()
    if not path.is_relative_to(folder.resolve()):
        return f"{item['path']}: lies outside the folder"
    if not path.is_file():
        return f"{item['path']}: recorded {item['sha256']}, found no file"
    found = canonical.digest_bytes(path.read_bytes())
    return (
        ""
        if found == item["sha256"]
        else f"{item['path']}: recorded {item['sha256']}, found {found}"
    )


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
