"""Raw samples: JSON lines as a workload writes them, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from bridge import canonical, schema
from bridge.errors import ManifestError
from evidence.metrics import Coordinates
from evidence.numbers import format_coordinate, read_number

MAX_ROW_BYTES = 64 * 1024
MAX_ROWS = 2_000_000
MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured row.

    Attributes:
        line: its line in the file, from 1.
        arm: the arm of the experiment.
        seed: the seed it was drawn with, as text.
        unit: the unit that was measured (a prompt, a needle); arms share units.
        input: digest of what went in.
        measure: what was measured.
        score: the exact score, None where it failed.
        at: its coordinates.
        error: why there is no score, "" where there is one.
        warmup: measured to warm the machine up, never counted.
        t_ms: how long it took, in milliseconds; None where it was not taken.
    """

    line: int
    arm: str
    seed: str
    unit: str
    input: str
    measure: str
    score: Fraction | None
    at: Coordinates
    error: str
    warmup: bool
    t_ms: Fraction | None

    @property
    def key(self) -> str:
        """What pairs this row with the same unit in another arm."""
        places = ",".join(f"{name}={place}" for name, place in self.at)
        return f"{self.unit} seed={self.seed} {places} {self.input}"


def read_samples(data: bytes, *, where: str = "samples.jsonl") -> tuple[Sample, ...]:
    """Every row of a samples file.

    Raises:
        ManifestError: `problems` names each faulty line (at most 20).
    """
    shape = schema.load("evidence", "sample")
    rows: list[Sample] = []
    problems: list[str] = []
    lines = data.split(b"\n")
    if len(lines) > MAX_ROWS:
        raise ManifestError(f"{len(lines)} rows, at most {MAX_ROWS} are taken", where=where)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = canonical.decode(line, where=f"line {number}", max_bytes=MAX_ROW_BYTES)
            _check_row(value, shape, number)
            rows.append(_build(value, number))
        except ManifestError as error:
            problems.append(str(error))
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise ManifestError("not a samples file", where=where, problems=tuple(problems))
    return tuple(rows)


_FIELDS: dict[str, tuple[type, ...]] = {
    "arm": (str,),
    "seed": (int,),
    "unit": (str,),
    "input": (str,),
    "measure": (str,),
    "score": (int, float, bool, type(None)),
    "at": (dict,),
    "error": (str, type(None)),
    "warmup": (bool,),
    "t_ms": (int, float, type(None)),
}


def _check_row(value: Any, shape: dict[str, Any], number: int) -> None:
    """The published schema, with a fast way round it for rows that plainly fit."""
    if (
        isinstance(value, dict)
        and value.keys() == _FIELDS.keys()
        and all(type(value[key]) in kinds for key, kinds in _FIELDS.items())
        and all(type(place) in (str, int, float) for place in value["at"].values())
        and len(value["at"]) <= 16
        and (bool(value["error"]) if value["score"] is None else value["error"] is None)
        and (value["t_ms"] is None or value["t_ms"] >= 0)
        and all(0 < len(value[key]) <= 200 for key in ("arm", "unit", "measure"))
        and canonical.is_digest(value["input"])
    ):
        return
    schema.check(value, shape, where=f"line {number}")


def _build(value: Mapping[str, Any], number: int) -> Sample:
    at = value.get("at", {})
    return Sample(
        line=number,
        arm=value["arm"],
        seed=format_coordinate(value["seed"]),
        unit=value["unit"],
        input=value["input"],
        measure=value["measure"],
        score=read_number(value["score"]),
        at=tuple(sorted((key, format_coordinate(place)) for key, place in at.items())),
        error=value.get("error") or "",
        warmup=value.get("warmup", False),
        t_ms=read_number(value.get("t_ms")),
    )
