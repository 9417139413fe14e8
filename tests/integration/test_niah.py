"""The needle presets: what their gates say of rows that the workload really writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import proc
from evidence.record import Assembled, Material, assemble
from tests import evidence_world, tiny_language

ROOT = Path(__file__).parents[2]
SPEC_KEYS = ("metrics", "gates", "plots", "plan")


def load_preset(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text())
    return document


def run_workload(folder: Path, config: dict[str, Any], inputs: dict[str, Path]) -> Path:
    """The workload in its own process, as an executor starts it; returns its out folder."""
    document = {
        "schema": "kakeya.job/1",
        "config": config | {"device": "cpu"},
        "inputs": {role: str(path) for role, path in inputs.items()},
        "out": str(folder / "out"),
    }
    (folder / "job.json").write_text(json.dumps(document))
    done = proc.run(
        [sys.executable, "-m", "workloads", "niah", "--job", str(folder / "job.json")],
        cwd=ROOT,
        env=proc.base_env() | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout_s=600,
    )
    assert done.code == 0, done.stderr.decode()
    return folder / "out"


def judge(out: Path, preset: dict[str, Any], samples: int) -> Assembled:
    spec = {key: preset[key] for key in SPEC_KEYS} | {"params": {"samples": samples}}
    data = (out / "samples.jsonl").read_bytes()
    return assemble(Material(facts=evidence_world.facts(), spec=spec, samples=data))


def verdicts_of(assembled: Assembled) -> dict[str, str]:
    return {one.gate.id: one.verdict.value for one in assembled.judged}


def shrink(
    preset: dict[str, Any], contexts: list[int], depths: list[float], samples: int
) -> dict[str, Any]:
    """The preset with a smaller grid; its gates stay as they are."""
    grid: dict[str, Any] = {"contexts": contexts, "depths": depths, "seeds": [0]}
    preset["config"] = preset["config"] | grid | {"samples": samples}
    preset["plan"] |= {"seeds": [0], "dims": {"context": contexts, "depth": depths}}
    return preset


@pytest.mark.real("transformers")
@pytest.mark.parametrize("name", ["niah-smoke", "niah"])
def test_on_a_model_that_finds_nothing_the_gates_say_so(tmp_path: Path, name: str) -> None:
    preset = shrink(load_preset(name), [320, 400], [0.1, 0.4, 1.0], samples=5)
    inputs = {
        "weights": tiny_language.write_model(tmp_path / "model"),
        "essays": tiny_language.write_essays(tmp_path / "essays"),
    }
    assembled = judge(run_workload(tmp_path, preset["config"], inputs), preset, samples=5)
    assert verdicts_of(assembled) == {
        "oracle-finds": "fail",
        "eviction-happens": "pass",
        "absent-finds-nothing": "pass",
        "window-sees-inside": "fail",
        "window-loses-outside": "inconclusive",
        "window-saves-memory": "pass",
    }
    assert assembled.record["gaps"] == []
    assert not assembled.selection.unplanned


@pytest.mark.parametrize("name", ["niah-smoke", "niah"])
def test_plan_and_config_of_a_preset_agree(name: str) -> None:
    preset = load_preset(name)
    config, plan = preset["config"], preset["plan"]
    assert config["seeds"] == plan["seeds"]
    assert config["samples"] == plan["n"] == "{samples}"
    assert config["contexts"] == plan["dims"]["context"]
    assert config["depths"] == plan["dims"]["depth"]
    assert preset["inputs"].keys() == {"weights", "essays"}


@pytest.mark.slow
@pytest.mark.real("transformers")
def test_a_real_model_finds_needles_and_loses_those_that_are_evicted(
    assets: dict[str, Path], tmp_path: Path
) -> None:
    preset = shrink(load_preset("niah-smoke"), [256, 384], [0.1, 0.3, 0.5, 1.0], samples=2)
    inputs = {
        "weights": assets["smollm2-135m-instruct"],
        "essays": assets["paul-graham-essays"],
    }
    assembled = judge(run_workload(tmp_path, preset["config"], inputs), preset, samples=2)
    verdicts = verdicts_of(assembled)
    assert verdicts["eviction-happens"] == "pass"
    assert verdicts["absent-finds-nothing"] == "pass"
    assert verdicts["window-saves-memory"] == "pass"
    found = {
        (metric.name, metric.arm): sum(metric.values)
        for metric in assembled.metrics
        if metric.name in ("recall_arm", "recall_inside")
    }
    assert found["recall_arm", "full"] > found["recall_arm", "sink_window"]
    assert found["recall_inside", "sink_window"] > found["recall_arm", "absent"]
