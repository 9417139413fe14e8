"""The four findings of the study, visible in our own output when their numbers are fed in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.evidence import evidence_group
from bridge.errors import ExitCode
from evidence.gates.judge import judge_gates
from evidence.gates.parse import parse_gates
from evidence.gates.rows import gate_row
from evidence.gates.view import read_view

SEEDS = {
    entry["seed"][:3]: entry
    for entry in json.loads((Path(__file__).parents[1] / "data" / "seed_gates.json").read_text())
}


def rows_of(seed: str) -> dict[str, dict[str, Any]]:
    entry = SEEDS[seed]
    bases = {name: read_view(base) for name, base in entry["baselines"].items()}
    judged = judge_gates(parse_gates(entry["gates"]), read_view(entry["evidence"]), bases)
    return {one.gate.id: gate_row(one) for one in judged}


def test_the_headline_speed_up_hangs_on_one_sample() -> None:
    row = rows_of("003")["fused_ge_AR_mean"]
    assert row["verdict"] == "pass"
    assert round(float(row["observed"]), 2) == 1.27
    assert row["loo_flips"] is True
    (flip,) = row["flips"]
    assert flip["verdict"] == "fail"
    assert flip["sample"].endswith("51.5")
    assert "51.5 makes it fail" in row["message"]


@pytest.mark.parametrize(
    ("stat", "expected"), [("mean", 1.27), ("median", 1.08), ("harmonic", 1.08)]
)
def test_means_are_named_and_differ(stat: str, expected: float) -> None:
    entry = SEEDS["003"]
    fused = {"m": "tok_s", "arm": "fused", "stat": stat}
    ratio = {"ratio": [fused, {"base": "ar", "m": "tok_s"}]}
    gates = parse_gates([{"id": "g", "rule": {"cmp": [ratio, ">=", "1"]}}])
    bases = {name: read_view(base) for name, base in entry["baselines"].items()}
    (judged,) = judge_gates(gates, read_view(entry["evidence"]), bases)
    assert round(float(judged.finding.observed), 2) == expected  # type: ignore[arg-type]


def test_ten_samples_without_a_loss_do_not_show_five_points() -> None:
    row = rows_of("003")["recall_5pp_ci"]
    assert row["verdict"] == "inconclusive"
    assert row["needs_n"] == 59
    assert "needs n >= 59" in row["message"]
    for part in row["parts"]:
        assert round(float(part["ci"]["lo"]), 2) == -0.26


@pytest.mark.parametrize(("n", "verdict"), [(58, "inconclusive"), (59, "pass")])
def test_n_59_is_where_it_turns(n: int, verdict: str) -> None:
    metrics = [{"name": "recall", "arm": arm, "k": n, "n": n} for arm in ("cm", "oracle")]
    within = [{"m": "recall", "arm": "cm"}, {"m": "recall", "arm": "oracle"}, "0.05"]
    gates = parse_gates([{"id": "g", "rule": {"within": within}, "decide": {"by": "ci"}}])
    (judged,) = judge_gates(gates, read_view({"metrics": metrics}))
    assert judged.verdict.value == verdict


def test_a_drop_of_eight_points_at_64_is_inconclusive() -> None:
    row = rows_of("004")["drop_real"]
    assert row["verdict"] == "inconclusive"
    assert row["ci"]["method"] == "newcombe"
    assert [round(100 * float(row["ci"][side]), 1) for side in ("lo", "hi")] == [-8.4, 23.5]
    assert "570" in row["message"]


def test_a_redefined_case_is_never_a_gain(tmp_path: Path) -> None:
    old = {"cases": {"4.25": {"v": "fail", "gate": "g1"}, "4.1": {"v": "fail", "gate": "g1"}}}
    new = {"cases": {"4.25": {"v": "pass", "gate": "g2"}, "4.1": {"v": "pass", "gate": "g1"}}}
    for name, record in (("old", old), ("new", new)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    done = CliRunner().invoke(
        evidence_group, ["compare", f"{tmp_path}/old.json", f"{tmp_path}/new.json", "--json"]
    )
    changes = {row["case"]: row["change"] for row in json.loads(done.stdout)["transitions"]}
    assert changes == {"4.25": "redefined", "4.1": "FAIL→PASS"}
    gates = parse_gates(
        [
            {"id": "gained", "rule": {"cases": {"base": "old", "gained_min": 2}}},
            {"id": "passing", "rule": {"cases": {"base": "old", "pass_min": 2}}},
            {"id": "one", "rule": {"cases": {"base": "old", "gained_min": 1}}},
        ]
    )
    judged = judge_gates(gates, read_view(new), {"old": read_view(old)})
    assert [one.verdict.value for one in judged] == ["fail", "fail", "pass"]


def test_a_lost_or_vanished_case_is_named_and_ends_apart(tmp_path: Path) -> None:
    old = {"cases": {"a": {"v": "pass", "gate": "g"}, "b": {"v": "pass", "gate": "g"}}}
    lost = {"cases": {"a": {"v": "fail", "gate": "g"}, "b": {"v": "pass", "gate": "g"}}}
    gone = {"cases": {"a": {"v": "pass", "gate": "g"}}}
    for name, record in (("old", old), ("lost", lost), ("gone", gone)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    ends = {}
    for name in ("lost", "gone", "old"):
        argv = ["compare", f"{tmp_path}/old.json", f"{tmp_path}/{name}.json", "--json"]
        ends[name] = CliRunner().invoke(evidence_group, argv).exit_code
    assert ends == {
        "lost": ExitCode.GATE_FAILED,
        "gone": ExitCode.INCONCLUSIVE,
        "old": ExitCode.DONE,
    }
    gates = parse_gates([{"id": "g", "rule": {"cases": {"base": "old", "lost_max": 0}}}])
    (judged,) = judge_gates(gates, read_view(gone), {"old": read_view(old)})
    assert judged.verdict.value == "missing"
