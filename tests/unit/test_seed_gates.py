"""The 50 gates of the source documents through the command line, and their expected verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.evidence import evidence_group
from bridge.errors import ExitCode

SEEDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "seed_gates.json").read_text()
)
OUTCOMES = {"pass": "confirmed", "fail": "refuted"}


def run_gate(folder: Path, entry: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    (folder / "gates.json").write_text(json.dumps(entry["gates"]))
    (folder / "record.json").write_text(json.dumps(entry["evidence"]))
    argv = ["gate", "--gates", f"{folder}/gates.json", "--record", f"{folder}/record.json"]
    for name, base in entry["baselines"].items():
        (folder / f"base-{name}.json").write_text(json.dumps(base))
        argv += ["--base", f"{name}={folder}/base-{name}.json"]
    done = CliRunner().invoke(evidence_group, [*argv, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_the_file_holds_the_gates_that_were_promised() -> None:
    assert sum(len(entry["gates"]) for entry in SEEDS) == 50


@pytest.mark.parametrize("entry", SEEDS, ids=[entry["seed"] for entry in SEEDS])
def test_every_seed_gate_has_its_expected_verdict(tmp_path: Path, entry: dict[str, Any]) -> None:
    code, answer = run_gate(tmp_path, entry)
    assert [(row["id"], row["verdict"]) for row in answer["gates"]] == [
        (gate["id"], gate["expect"]) for gate in entry["gates"]
    ]
    blocking = [
        gate["expect"]
        for gate in entry["gates"]
        if gate.get("blocking", True) and gate.get("kind") != "prediction"
    ]
    assert code == (ExitCode.GATE_FAILED if "fail" in blocking else ExitCode.INCONCLUSIVE)


@pytest.mark.parametrize("entry", SEEDS, ids=[entry["seed"] for entry in SEEDS])
def test_predictions_have_outcomes_and_never_block(tmp_path: Path, entry: dict[str, Any]) -> None:
    _, answer = run_gate(tmp_path, entry)
    for row in answer["gates"]:
        if row["kind"] == "prediction":
            assert row["outcome"] == OUTCOMES[row["verdict"]]
            assert row["blocking"] is False
        else:
            assert "outcome" not in row


def test_the_whole_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps(SEEDS))
    done = CliRunner().invoke(evidence_group, ["gate", "--gates", str(path), "--json"])
    rows = json.loads(done.stdout)["gates"]
    assert all(row["verdict"] == row["expect"] for row in rows)
    assert len(rows) == 50


def test_a_table_for_a_person_names_every_gate(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps(SEEDS))
    done = CliRunner().invoke(evidence_group, ["gate", "--gates", str(path)])
    for entry in SEEDS:
        for gate in entry["gates"]:
            assert gate["id"] in done.stdout
