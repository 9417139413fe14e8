"""docs/gates.md is what the gates do: its tables are read and judged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from evidence.gates.judge import judge_gates
from evidence.gates.parse import METHODS, parse_gates
from evidence.gates.rules import RULES
from evidence.gates.view import read_view
from evidence.reducers import REDUCERS

PAGE = (Path(__file__).parents[2] / "docs" / "gates.md").read_text()
RECORD = {
    "dims": {"place": ["0", "1", "2"]},
    "metrics": [
        {"name": "full", "k": 100, "n": 100},
        {"name": "none", "k": 0, "n": 100},
        {"name": "some", "k": 5, "n": 10},
        {"name": "twice", "k": 1, "n": 1},
        {"name": "twice", "k": 1, "n": 1},
    ],
}
METRIC_OF = {
    "pass": "full",
    "fail": "none",
    "inconclusive": "some",
    "missing": "absent",
    "error": "twice",
}


def read_table(name: str) -> list[list[str]]:
    """The rows of a marked table, header first, emphasis taken off."""
    text = PAGE.split(f"<!-- table: {name} -->")[1]
    lines = [line for line in text.split("\n\n")[0].strip().splitlines() if line.startswith("|")]
    rows = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= {"-"}]


def read_grid(name: str) -> list[tuple[str, str, str]]:
    header, *rows = read_table(name)
    return [
        (row[0], column, cell)
        for row in rows
        for column, cell in zip(header[1:], row[1:], strict=True)
    ]


def rule_for(verdict: str) -> dict[str, Any]:
    return {"cmp": [{"m": METRIC_OF[verdict]}, ">=", "0.6"]}


def judge(rule: dict[str, Any], record: dict[str, Any] | None = None, **more: Any) -> Any:
    gates = parse_gates([{"id": "g", "rule": rule, "decide": {"by": "ci"}, **more}])
    return judge_gates(gates, read_view(record or RECORD))[0]


@pytest.mark.parametrize("verdict", METRIC_OF)
def test_the_rules_used_here_give_their_verdicts(verdict: str) -> None:
    assert judge(rule_for(verdict)).verdict.value == verdict


@pytest.mark.parametrize("name", ["all", "any"])
def test_all_and_any(name: str) -> None:
    grid = read_grid(name)
    assert len(grid) == 25
    for one, two, expected in grid:
        assert judge({name: [rule_for(one), rule_for(two)]}).verdict.value == expected, (one, two)


def test_not() -> None:
    _, *rows = read_table("not")
    assert len(rows) == 5
    for verdict, expected in rows:
        assert judge({"not": rule_for(verdict)}).verdict.value == expected


def test_each() -> None:
    _, *rows = read_table("each")
    assert len(rows) >= 15
    for places, share, expected in rows:
        metrics = []
        for index, verdict in enumerate(places.split()):
            for item in RECORD["metrics"]:
                if item["name"] == METRIC_OF[verdict]:  # type: ignore[index]
                    metrics.append({**item, "name": "here", "at": {"place": str(index)}})  # type: ignore[dict-item]
        record = {"dims": RECORD["dims"], "metrics": metrics}
        rule = {"each": "place", "min_frac": share, "rule": {"cmp": [{"m": "here"}, ">=", "0.6"]}}
        assert judge(rule, record).verdict.value == expected, (places, share)


def test_needs() -> None:
    grid = read_grid("needs")
    assert len(grid) == 25
    for own, needed, expected in grid:
        gates = parse_gates(
            [
                {"id": "own", "rule": rule_for(own), "decide": {"by": "ci"}, "needs": ["other"]},
                {"id": "other", "rule": rule_for(needed), "decide": {"by": "ci"}},
            ]
        )
        assert judge_gates(gates, read_view(RECORD))[0].verdict.value == expected, (own, needed)


def test_predictions() -> None:
    _, *rows = read_table("predictions")
    for verdict, parts, expected in rows:
        judged = judge({"all": [rule_for(part) for part in parts.split()]}, kind="prediction")
        assert (judged.verdict.value, judged.outcome) == (verdict, expected)


def test_no_blocking_gate_is_missing_and_exit_codes_are_as_written() -> None:
    from evidence.gates.judge import overall_verdict
    from evidence.gates.verdicts import EXIT_CODES

    assert overall_verdict(()).value == "missing"
    line = next(line for line in PAGE.splitlines() if "Exit codes:" in line)
    for words, code in re.findall(r"([a-z ]+?) (\d+)[,.]", line.split("Exit codes:")[1]):
        for word in words.replace(" and ", " ").split():
            assert EXIT_CODES[word] == int(code)


def keyed(scores: list[float], **more: Any) -> dict[str, Any]:
    return {"values": scores, "keys": [f"u{index}" for index in range(len(scores))], **more}


def method_records() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """One record and rule for each row of the table of methods."""
    a, b = {"m": "x", "arm": "a"}, {"m": "x", "arm": "b"}
    above = {"cmp": [{"m": "x"}, ">", "0.5"]}
    lead = {"cmp": [{"sub": [a, b]}, ">", "0"]}
    share = {"cmp": [{"ratio": [a, b]}, ">", "0.5"]}

    def one(**more: Any) -> dict[str, Any]:
        return {"metrics": [{"name": "x", **more}]}

    def two(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
        return {"metrics": [{"name": "x", "arm": "a", **left}, {"name": "x", "arm": "b", **right}]}

    ones, mixed = [1.0] * 6 + [0.0] * 2, [1.0] * 3 + [0.0] * 5
    many, more = [1.0, 2.5, 3.0, 4.0, 5.0, 6.0], [2.0, 2.0, 3.5, 4.5, 5.0, 7.0]
    clusters = [name for name in "abcdef" for _ in range(2)]
    clustered = {"values": [float(i) for i in range(12)], "clusters": clusters}
    return [
        ("one share, k strictly between 0 and n", one(k=3, n=8), above),
        ("one share, k = 0 or k = n", one(k=8, n=8), above),
        ("two shares, no pairs", two({"k": 6, "n": 8}, {"k": 3, "n": 8}), lead),
        ("two shares, both 0 or both 1", two({"k": 8, "n": 8}, {"k": 9, "n": 9}), lead),
        ("two shares in pairs, against 0", two(keyed(ones), keyed(mixed)), lead),
        (
            "two shares in pairs, against another threshold",
            two(keyed(ones), keyed(mixed)),
            {"cmp": [{"sub": [a, b]}, ">", "0.1"]},
        ),
        ("scores, 5 or more", one(values=many), above),
        ("scores of two arms in pairs", two(keyed(many), keyed(more)), lead),
        ("scores in clusters, 5 or more clusters", one(**clustered), above),
        (
            "a ratio or other term over shares of 0 or 1",
            two({"k": 8, "n": 8}, {"k": 8, "n": 8}),
            share,
        ),
        (
            "one figure without samples, an extreme, fewer than 5 scores, equal scores",
            one(value=3),
            above,
        ),
    ]


def test_methods_fit_their_shapes() -> None:
    _, *rows = read_table("methods")
    records = method_records()
    assert [row[0] for row in rows] == [shape for shape, _, _ in records]
    for (shape, method, sided), (_, record, rule) in zip(rows, records, strict=True):
        finding = judge(rule, record).finding
        if method.startswith("none"):
            assert finding.interval is None, shape
            assert finding.verdict.value == "inconclusive", shape
        else:
            assert finding.interval is not None, shape
            assert (finding.interval.method, finding.interval.sided) == (method, sided), shape


@pytest.mark.parametrize(
    "metric",
    [{"value": 3}, {"values": [1, 2, 3]}, {"values": [2.5] * 9}, {"values": list(range(9))}],
)
def test_what_has_no_interval_is_inconclusive(metric: dict[str, Any]) -> None:
    stat = (
        {"stat": "max"} if len(metric.get("values", ())) == 9 and metric["values"][0] == 0 else {}
    )
    rule = {"cmp": [{"m": "x", **stat}, ">", "0.5"]}
    judged = judge(rule, {"metrics": [{"name": "x", **metric}]})
    assert judged.verdict.value == "inconclusive"
    assert judged.finding.why


def test_the_page_names_every_rule_stat_and_method() -> None:
    for name in (*RULES, *REDUCERS, *METHODS):
        assert re.search(rf"\b{re.escape(name)}\b", PAGE), name
