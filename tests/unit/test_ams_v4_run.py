"""The v4 workload as a whole: the same rows again, resuming, presets, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from presets.binding import bind, render_config
from presets.catalog import load_catalog
from tests.whole_jobs import PRESETS, read_facts, read_rows, run_job
from workloads.ams_v4.config import Config
from workloads.shared import job

ARMS = ["fresh", "v46", "v47", "v3"]


def run(folder: Path) -> Path:
    config = {"scale": "ci", "seeds": [0, 1], "arms": ARMS, "facts": [10]}
    return run_job("ams-v4", folder, config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("ams-v4")).parent


def test_the_same_config_gives_the_same_rows_and_resumes(finished: Path, tmp_path: Path) -> None:
    rows = read_rows(finished / "out")
    others = {"backbone", "full_history", "nothing", "rag", "flat"}
    assert {row["arm"] for row in rows} == {*ARMS} | others
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    lines = (again / "checkpoint/finished.jsonl").read_text("utf-8").splitlines(keepends=True)
    (again / "checkpoint/finished.jsonl").write_text("".join(lines[:4]), "utf-8")
    assert read_rows(run(again)) == rows
    assert read_facts(again / "out")["counters"]["units_resumed"] == 4
    assert read_rows(run(tmp_path / "anew")) == rows


def test_arms_sit_the_same_exam_and_every_loss_is_counted(finished: Path) -> None:
    rows = read_rows(finished / "out")

    def units(arm: str, mode: str) -> list[tuple[str, str]]:
        return sorted(
            (row["unit"], row["input"])
            for row in rows
            if row["measure"] == "hit" and row["arm"] == arm and row["at"]["mode"] == mode
        )

    expected = units("full_history", "D")
    assert len(expected) == 2 * 3 * 10
    assert all(units(arm, mode) == expected for arm in ARMS for mode in ("A", "C", "A_shuffled"))
    terms = {row["at"]["term"] for row in rows if row["measure"] == "loss" and row["arm"] == "v47"}
    assert len(terms) == 5
    recon = [row["score"] for row in rows if row["at"].get("term") == "recon"]
    assert recon
    assert min(recon) > 0


@pytest.mark.parametrize("name", ["ams-v4-tiny", "ams-v4-small"])
def test_a_preset_gives_a_config_that_its_workload_takes(name: str) -> None:
    preset = load_catalog(PRESETS).get(name)
    built = job.build_config(Config, render_config(preset, bind(preset, {}), env={}))
    assert preset.plan is not None
    assert tuple(preset.plan["seeds"]) == built.seeds
    assert name.endswith(built.scale)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"seeds": (1,)}, "$.config.seeds"),
        ({"arms": ()}, "$.config.arms"),
        ({"facts": (4,)}, "$.config.facts"),
        ({"rate": 0.0}, "$.config.rate"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config(**fields)
    assert any(problem.startswith(path) for problem in caught.value.problems)
