"""The audit workload as a whole: the same rows again, resuming, presets, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from evidence.gates.view import read_view
from presets.binding import bind, render_config
from presets.catalog import load_catalog
from tests.tiny_language import write_model
from tests.whole_jobs import PRESETS, read_facts, read_rows, run_job
from workloads.ams_audit.config import ARMS, Config
from workloads.shared import job


def run(folder: Path, weights: Path | None = None, **fields: Any) -> Path:
    inputs = {"weights": weights} if weights else {}
    return run_job("ams-audit", folder, {"scale": "ci", "seeds": [0], **fields}, inputs)


def read_artifacts(out: Path) -> dict[str, str]:
    found = (out / "artifacts").rglob("*.json*")
    return {str(path.relative_to(out)): path.read_text("utf-8") for path in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("ams-audit")).parent


def test_a_resumed_run_gives_the_same_rows(finished: Path, tmp_path: Path) -> None:
    rows = read_rows(finished / "out")
    assert {row["arm"] for row in rows} == {*ARMS, "backbone"}
    again = tmp_path / "again"
    shutil.copytree(finished, again, ignore=shutil.ignore_patterns("out"))
    lines = (again / "checkpoint/finished.jsonl").read_text("utf-8").splitlines(keepends=True)
    (again / "checkpoint/finished.jsonl").write_text("".join(lines[:-2]), "utf-8")
    assert read_rows(run(again)) == rows
    counters = read_facts(again / "out")["counters"]
    assert counters["units_resumed"] == len(lines) - 2
    before, after = (read_artifacts(folder / "out") for folder in (finished, again))
    assert len(before) == 1 + len(ARMS)
    assert after == before


def test_every_arm_has_26_cases_and_every_case_is_measured(finished: Path) -> None:
    rows = read_rows(finished / "out")
    for arm in ARMS:
        cases = [row for row in rows if row["arm"] == arm and row["measure"] == "case"]
        assert [row["at"]["case"] for row in cases] == [f"4.{n}" for n in range(1, 27)]
        (count,) = [row["score"] for row in rows
                    if row["arm"] == arm and row["measure"] == "passed"]  # fmt: skip
        assert count == sum(row["score"] for row in cases)
        changes = [row for row in rows if row["arm"] == arm and row["measure"] == "transition"]
        assert len(changes) == 26
    (deaf,) = [row["score"] for row in rows if row["arm"] == "deaf"
               and row["measure"] == "axis_figure" and row["at"]["axis"] == "C"]  # fmt: skip
    assert deaf <= 4


def test_the_reader_fix_redefines_one_case_and_changes_no_other(finished: Path) -> None:
    rows = read_rows(finished / "out")

    def cases(arm: str) -> dict[str, tuple[bool, str]]:
        return {
            row["at"]["case"]: (row["score"], row["input"])
            for row in rows
            if row["arm"] == arm and row["measure"] == "case"
        }

    before, after = cases("stacked"), cases("reader_fix")
    assert [name for name in before if before[name][1] != after[name][1]] == ["4.24"]
    assert {name for name in before if before[name] != after[name]} == {"4.24"}


def test_the_log_and_the_tables_of_cases_are_artifacts(finished: Path) -> None:
    artifacts = finished / "out" / "artifacts"
    log = [json.loads(line) for line in (artifacts / "train_log.jsonl").read_text().splitlines()]
    arms = {line["arm"] for line in log}
    assert arms == {"baseline", "stacked", "no_m2_m3", "m3_centroid"}
    assert len({sum(line["arm"] == arm for line in log) for arm in arms}) == 1  # equal budget
    distilled = {line["arm"] for line in log if "distillation" in line}
    assert distilled == {"stacked", "m3_centroid"}
    for arm in ARMS:
        view = read_view(json.loads((artifacts / "audits" / f"{arm}-s0.json").read_text()))
        assert view.cases is not None
        assert len(view.cases) == 26


def test_given_weights_take_the_same_path(tmp_path: Path) -> None:
    weights = write_model(tmp_path / "weights")
    arms = ["baseline", "stacked"]
    rows = read_rows(run(tmp_path / "job", weights, arms=arms, device="cpu"))
    assert {row["arm"] for row in rows} == set(arms)
    for arm in arms:
        cases = [row for row in rows if row["arm"] == arm and row["measure"] == "measured"]
        assert [row["score"] for row in cases] == [True] * 26


@pytest.mark.parametrize(
    "name", [f"ams-audit-{kind}" for kind in ("tiny", "small", "h200", "mac-m4", "round")]
)
def test_a_preset_gives_a_config_that_its_workload_takes(name: str) -> None:
    preset = load_catalog(PRESETS).get(name)
    built = job.build_config(Config, render_config(preset, bind(preset, {}), env={}))
    assert preset.plan is not None
    if name != "ams-audit-round":
        assert tuple(preset.plan["seeds"]) == built.seeds
        assert built.arms == tuple(ARMS)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"seeds": ()}, "$.config.seeds"),
        ({"arms": ("baseline", "baseline")}, "$.config.arms"),
        ({"rate": 0.0}, "$.config.rate"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config(**fields)
    assert any(problem.startswith(path) for problem in caught.value.problems)
