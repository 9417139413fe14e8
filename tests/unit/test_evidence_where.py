"""A metric may count the rows at one place alone."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ManifestError
from evidence.measuring import build_metrics
from evidence.samples import read_samples
from evidence.spec import parse_spec

INPUT = "sha256:" + "0" * 64


def make_line(unit: str, score: int, **at: float) -> str:
    row = {"arm": "a", "seed": 0, "unit": unit, "input": INPUT, "measure": "recall"}
    rest = {"score": score, "at": at, "error": None, "warmup": False, "t_ms": 1.0}
    return json.dumps(row | rest) + "\n"


def test_rows_elsewhere_do_not_count() -> None:
    metric = {"name": "outside", "measure": "recall", "reducer": "proportion", "by": ["arm"]}
    spec = parse_spec({"metrics": [metric | {"where": {"outside": 1}}]})
    lines = [make_line("u0", 1, outside=1), make_line("u1", 0, outside=0), make_line("u2", 0)]
    (found,) = build_metrics(spec, read_samples("".join(lines).encode()))
    assert (found.k, found.n) == (1, 1)


def test_a_place_must_be_a_string_or_a_number() -> None:
    metric = {"name": "recall", "reducer": "proportion", "where": {"outside": True}}
    with pytest.raises(ManifestError) as caught:
        parse_spec({"metrics": [metric]})
    assert any("$.metrics[0].where.outside" in problem for problem in caught.value.problems)
