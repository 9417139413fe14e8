"""`evidence gate` on files: shapes taken, faults named, rules that look at tables and terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.evidence import evidence_group
from bridge.errors import ExitCode, KakeyaError, ManifestError, UsageError
from evidence.gates.judge import judge_gates
from evidence.gates.parse import parse_gates
from evidence.gates.power import smallest_n
from evidence.gates.view import read_view
from evidence.judge import JudgeInput, judge
from tests.evidence_world import write_job

GOOD = {"id": "good", "rule": {"cmp": [{"m": "x"}, ">", "0"]}}


def gate(tmp_path: Path, gates: Any, record: Any, **bases: Any) -> tuple[int, dict[str, Any]]:
    (tmp_path / "g.json").write_text(json.dumps(gates))
    (tmp_path / "r.json").write_text(json.dumps(record))
    argv = ["gate", "--gates", f"{tmp_path}/g.json", "--record", f"{tmp_path}/r.json", "--json"]
    for name, base in bases.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(base))
        argv += ["--base", f"{name}={tmp_path}/{name}.json"]
    done = CliRunner().invoke(evidence_group, argv)
    if isinstance(done.exception, KakeyaError):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


def test_a_gate_that_cannot_be_read_is_an_error_and_ends_2(tmp_path: Path) -> None:
    bad = {"id": "bad", "rule": {"cmp": [{"m": "x"}, ">", "0"]}, "extra": 1}
    after = {"id": "after", "rule": GOOD["rule"], "needs": ["bad"]}
    code, answer = gate(tmp_path, [GOOD, bad, after], {"metrics": [{"name": "x", "value": 1}]})
    verdicts = {row["id"]: row["verdict"] for row in answer["gates"]}
    assert code == ExitCode.USAGE
    assert verdicts == {"good": "pass", "after": "inconclusive", "bad": "error"}
    assert "$[1].extra" in answer["gates"][-1]["problems"][0]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "JSON object"),
        ({"metrics": {}}, ""),
        ({"metrics": [1]}, "metrics[0]"),
        ({"metrics": "x"}, "metrics"),
        ({"cases": {"a": 1}}, "cases.a"),
        ({"dims": {"a": 1}}, "dims.a"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, record: Any, words: str) -> None:
    if record == {"metrics": {}}:
        assert gate(tmp_path, [GOOD], record)[1]["verdict"] == "missing"
        return
    with pytest.raises(ManifestError) as caught:
        gate(tmp_path, [GOOD], record)
    assert words in str(caught.value)


def test_a_record_that_holds_nan_or_a_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps([GOOD]))
    for text in ('{"metrics": [{"name": "x", "value": NaN}]}', '{"metrics": [], "metrics": []}'):
        (tmp_path / "r.json").write_text(text)
        argv = ["gate", "--gates", f"{tmp_path}/g.json", "--record", f"{tmp_path}/r.json"]
        assert isinstance(CliRunner().invoke(evidence_group, argv).exception, ManifestError)


def test_a_base_that_is_no_pair_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps([GOOD]))
    for base in ("old", "=x", "old=", f"old={tmp_path}/none.json"):
        argv = ["gate", "--gates", f"{tmp_path}/g.json", "--record", f"{tmp_path}/g.json"]
        found = CliRunner().invoke(evidence_group, [*argv, "--base", base]).exception
        assert isinstance(found, UsageError)


def test_our_own_record_is_judged_from_its_samples(tmp_path: Path) -> None:
    paths = write_job(tmp_path / "job")
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], tmp_path / "out"))
    pair = [{"m": "speed", "arm": "full"}, {"m": "speed", "arm": "sink_window"}]
    rule = {"cmp": [{"ratio": pair}, ">", "0.5"]}
    gates = [{"id": "g", "rule": rule, "decide": {"by": "ci", "method": "paired-bootstrap"}}]
    (tmp_path / "g.json").write_text(json.dumps(gates))
    argv = ["gate", "--gates", f"{tmp_path}/g.json", "--record", f"{tmp_path}/out", "--json"]
    done = CliRunner().invoke(evidence_group, argv)
    row = json.loads(done.stdout)["gates"][0]
    assert (row["verdict"], row["ci"]["method"]) == ("pass", "paired-bootstrap")
    assert done.exit_code == ExitCode.DONE


RECORD: dict[str, Any] = {
    "dims": {"step": [1, 2, 3]},
    "metrics": [
        {"name": "loss", "value": value, "at": {"step": step}}
        for step, value in enumerate((3, 2, 1), 1)
    ]
    + [
        {"name": "ms", "value": 5, "unit": "ms"},
        {"name": "s", "value": 5, "unit": "s"},
        {"name": "zero", "value": 0},
        {"name": "bad", "k": 3, "n": 2},
        {"name": "words", "value": "many"},
        {"name": "null", "value": None},
        {"name": "nothing", "values": []},
        {"name": "none", "k": 0, "n": 0},
        {"name": "armed", "value": 1, "arm": "a"},
    ],
    "cases": {"a": {"v": "pass", "gate": "g"}},
    "sets": {"s": ["1"], "t": [1], "empty": []},
    "changed_paths": ["evidence/gates/parse.py", "a/b.py"],
}


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ({"trend": [{"m": "loss"}, "down"]}, "pass"),
        ({"trend": [{"m": "loss"}, "up"]}, "fail"),
        ({"trend": [{"m": "ms"}, "up"]}, "missing"),
        ({"trend": [{"m": "gone"}, "up"]}, "missing"),
        ({"cmp": [{"m": "loss"}, "<", "9"]}, "error"),
        ({"cmp": [{"m": "loss", "stat": "max"}, "<=", "3"]}, "pass"),
        ({"cmp": [{"m": "loss", "at": {"step": 2}}, "==", "2"]}, "pass"),
        ({"cmp": [{"m": "loss", "at": {"step": "2"}}, "==", "2"]}, "pass"),
        ({"cmp": [{"m": "loss", "at": {"step": 7}}, "==", "2"]}, "missing"),
        ({"cmp": [{"m": "ms"}, "==", {"m": "s"}]}, "error"),
        ({"cmp": [{"sub": [{"m": "ms"}, {"m": "s"}]}, "==", "0"]}, "error"),
        ({"cmp": [{"ratio": [{"m": "ms"}, {"m": "zero"}]}, "==", "0"]}, "error"),
        ({"cmp": [{"abs": {"sub": ["3", {"m": "zero"}]}}, "==", "3"]}, "pass"),
        ({"cmp": [{"m": "bad"}, ">", "0"]}, "error"),
        ({"cmp": [{"m": "words"}, ">", "0"]}, "error"),
        ({"cmp": [{"m": "null"}, "<", "1"]}, "missing"),
        ({"not": {"cmp": [{"m": "null"}, "<", "1"]}}, "missing"),
        ({"cmp": [{"m": "nothing"}, "<", "1"]}, "missing"),
        ({"cmp": [{"m": "none"}, "<", "1"]}, "missing"),
        ({"cmp": [{"m": "armed"}, "==", "1"]}, "error"),
        ({"cmp": [{"m": "armed", "arm": "b"}, "==", "1"]}, "missing"),
        ({"each": "rung", "rule": GOOD["rule"]}, "missing"),
        ({"cases": {"require": ["a"]}}, "pass"),
        ({"cases": {"require": "b"}}, "missing"),
        ({"cases": {"base": "old", "lost_max": 0}}, "missing"),
        ({"disjoint": ["s", "t"]}, "fail"),
        ({"disjoint": ["s", "empty"]}, "missing"),
        ({"untouched": ["evidence/"]}, "fail"),
        ({"untouched": ["b.py"]}, "fail"),
        ({"untouched": ["*.md"]}, "pass"),
        ({"same": {"base": "old", "keys": ["cfg"]}}, "missing"),
        ({"cover": {"seeds": 1}}, "missing"),
    ],
)
def test_rules_on_one_record(rule: dict[str, Any], verdict: str) -> None:
    judged = judge_gates(parse_gates([{"id": "g", "rule": rule}]), read_view(RECORD))[0]
    assert judged.verdict.value == verdict, judged.finding


def test_a_missing_point_of_a_series_is_missing() -> None:
    record = RECORD | {"metrics": RECORD["metrics"][1:]}
    for rule in (
        {"trend": [{"m": "loss"}, "down"]},
        {"cmp": [{"m": "loss", "stat": "max"}, "<", "3"]},
    ):
        judged = judge_gates(parse_gates([{"id": "g", "rule": rule}]), read_view(record))[0]
        assert judged.verdict.value == "missing"


def test_a_baseline_without_the_dimension_stands_for_every_place() -> None:
    base = read_view({"metrics": [{"name": "loss", "value": 4}]})
    rule = {"each": "step", "rule": {"cmp": [{"m": "loss"}, "<", {"m": "loss", "base": "old"}]}}
    gates = parse_gates([{"id": "g", "rule": rule}])
    assert judge_gates(gates, read_view(RECORD), {"old": base})[0].verdict.value == "pass"


def test_paired_units_are_used_and_mcnemar_may_be_demanded() -> None:
    keys = [f"u{index}" for index in range(40)]
    left = {"name": "x", "arm": "a", "values": [1] * 40, "keys": keys}
    right = {"name": "x", "arm": "b", "values": [1] * 32 + [0] * 8, "keys": keys[::-1]}
    rule = {"cmp": [{"sub": [{"m": "x", "arm": "a"}, {"m": "x", "arm": "b"}]}, ">", "0"]}

    def method(name: str, metrics: list[Any]) -> tuple[str, str]:
        gates = parse_gates([{"id": "g", "rule": rule, "decide": {"by": "ci", "method": name}}])
        judged = judge_gates(gates, read_view({"metrics": metrics}))[0]
        interval = judged.finding.interval
        return judged.verdict.value, interval.method if interval else ""

    assert method("auto", [left, right]) == ("pass", "mcnemar")
    assert method("newcombe", [left, right]) == ("pass", "newcombe")
    assert method("mcnemar", [{**left, "keys": []}, right])[0] == "error"
    assert method("paired-bootstrap", [left, right]) == ("pass", "paired-bootstrap")
    assert method("bootstrap", [left, right])[0] in ("pass", "inconclusive")


@pytest.mark.parametrize(
    ("rule", "n"),
    [
        ({"cmp": [{"m": "x"}, ">=", "0.95"]}, 59),
        ({"cmp": [{"m": "x"}, "<=", "0.05"]}, 59),
        ({"within": [{"m": "x"}, {"m": "y"}, "0.05"]}, 59),
        ({"cmp": [{"sub": [{"m": "x"}, {"m": "y"}]}, ">=", "-0.05"]}, 59),
        ({"cmp": [{"m": "x"}, ">=", "1"]}, None),
        ({"cmp": [{"m": "x"}, "==", "1"]}, None),
        ({"within": [{"m": "x"}, {"m": "y"}, "0"]}, None),
        ({"cover": {"seeds": 3}}, 1),
    ],
)
def test_the_smallest_n_at_which_a_gate_can_pass(rule: dict[str, Any], n: int | None) -> None:
    (parsed,) = parse_gates([{"id": "g", "rule": rule, "decide": {"by": "ci"}}])
    assert smallest_n(parsed.rule, parsed.decide).n == n
    (parsed,) = parse_gates([{"id": "g", "rule": rule}])
    assert smallest_n(parsed.rule, parsed.decide).n == 1


@pytest.mark.parametrize("threshold", ["0", "0.2", "0.5", "0.9"])
def test_the_smallest_n_is_where_the_best_outcome_first_passes(threshold: str) -> None:
    rule = {"cmp": [{"sub": [{"m": "x", "arm": "a"}, {"m": "x", "arm": "b"}]}, ">", threshold]}
    gates = parse_gates([{"id": "g", "rule": rule, "decide": {"by": "ci"}}])
    n = smallest_n(gates[0].rule, gates[0].decide).n
    assert n is not None
    for size, verdict in ((n, "pass"), (n - 1, "inconclusive")):
        metrics = [
            {"name": "x", "arm": "a", "k": size, "n": size},
            {"name": "x", "arm": "b", "k": 0, "n": size},
        ]
        if size:
            judged = judge_gates(gates, read_view({"metrics": metrics}))[0]
            assert judged.verdict.value == verdict
