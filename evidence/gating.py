"""A file of gates on a record from a file, as `kakeya_remote evidence gate` judges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import canonical
from bridge.errors import ExitCode, MissingPartError, UsageError
from evidence.gates.judge import Judged, judge_gates, overall_verdict
from evidence.gates.parse import parse_each
from evidence.gates.rows import gate_row
from evidence.gates.verdicts import EXIT_CODES, Verdict
from evidence.gates.view import View, read_view
from evidence.judge import MAX_DOCUMENT_BYTES
from evidence.record import SCHEMA, assemble
from evidence.verify import RECORD_NAME, material_of

ANSWER_SCHEMA = "kakeya.gated/1"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One list of gates with the record and baselines it is judged on."""

    name: str
    gates: object
    view: View
    bases: Mapping[str, View]


def judge_files(gates: Path, record: Path | None, bases: Mapping[str, Path]) -> dict[str, Any]:
    """The answer of `evidence gate`: overall verdict and one row for each gate.

    Args:
        gates: a JSON list of gates, an object with `gates`, or such objects with their own
            `evidence` and `baselines` (the form of the seed gates).
        record: any record; may be left out where `gates` brings its own.
        bases: further baselines by name.

    Raises:
        UsageError: a file cannot be read or is no record. A gate that cannot be read is no
            exception but a row with the verdict `error`, and the answer's exit code is 2.
    """
    known = {name: load_view(path) for name, path in bases.items()}
    own = None if record is None else load_view(record)
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    malformed = False
    for sheet in _sheets(_load(gates), own, known, str(gates)):
        good, bad = parse_each(sheet.gates)
        malformed = malformed or bool(bad)
        judged = judge_gates(good, sheet.view, sheet.bases)
        rows += _rows(sheet, judged, bad)
        verdicts.append(Verdict.ERROR if bad else overall_verdict(judged))
    if not verdicts:
        raise UsageError("no gates", where=str(gates))
    verdict = next((one for one in _WORST_FIRST if one in verdicts), Verdict.PASS)
    return {
        "schema": ANSWER_SCHEMA,
        "verdict": verdict.value,
        "exit_code": int(ExitCode.USAGE if malformed else EXIT_CODES[verdict]),
        "gates": rows,
    }


_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.MISSING, Verdict.INCONCLUSIVE)


def load_view(path: Path) -> View:
    """A record's view: from its samples where they lie beside it, else from its metrics.

    Raises:
        UsageError: no record can be read there.
    """
    file = path / RECORD_NAME if path.is_dir() else path
    data = _load(file)
    if isinstance(data, Mapping) and data.get("schema") == SCHEMA and data.get("samples"):
        samples = file.parent / str(data["samples"]["path"])
        if samples.is_file() and samples.resolve().is_relative_to(file.parent.resolve()):
            return assemble(material_of(data, samples.read_bytes())).view
    return read_view(data, where=str(file))


def _load(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingPartError(error.strerror or str(error), where=str(path)) from error
    return canonical.decode(data, where=str(path), max_bytes=MAX_DOCUMENT_BYTES)


def _sheets(
    data: Any, record: View | None, bases: Mapping[str, View], where: str
) -> Iterator[Sheet]:
    entries = data if isinstance(data, Sequence) and _is_entries(data) else [data]
    for index, entry in enumerate(entries):
        if not (isinstance(entry, Mapping) and "gates" in entry):
            if record is None:
                raise UsageError(
                    "these gates bring no record", where=where, remedy="name one: --record FILE"
                )
            yield Sheet("", entry, record, bases)
            continue
        name = str(entry.get("seed", entry.get("name", index if len(entries) > 1 else "")))
        view = record
        if view is None and "evidence" in entry:
            view = read_view(entry["evidence"], where=f"{where} {name}")
        if view is None:
            raise UsageError(
                "these gates bring no record", where=where, remedy="name one: --record FILE"
            )
        brought = entry.get("baselines") or {}
        own = {key: read_view(value, where=f"baseline {key}") for key, value in brought.items()}
        yield Sheet(name, entry["gates"], view, {**own, **bases})


def _is_entries(data: Sequence[Any]) -> bool:
    return bool(data) and all(isinstance(item, Mapping) and "gates" in item for item in data)


def _rows(
    sheet: Sheet, judged: Sequence[Judged], bad: Sequence[tuple[str, tuple[str, ...]]]
) -> Iterator[dict[str, Any]]:
    extra = {"sheet": sheet.name} if sheet.name else {}
    for one in judged:
        yield {**gate_row(one), **extra}
    for name, problems in bad:
        message = "the gate cannot be read"
        yield {
            "id": name,
            "verdict": Verdict.ERROR.value,
            "problems": list(problems),
            "message": message,
            **extra,
        }
