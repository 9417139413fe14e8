"""The K/V storage workload whole, as its presets call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
import torch

from presets.binding import bind, render_config
from presets.definition import parse_preset
from tests import tiny_language
from workloads.__main__ import main
from workloads.shared import job

PRESETS = Path(__file__).parents[2] / "presets"


def run(folder: Path, config: dict[str, Any], weights: Path, name: str = "out") -> list[Any]:
    torch.set_num_threads(1)
    document = {
        "schema": job.SCHEMA,
        "out": str(folder / name),
        "checkpoint": str(folder / "checkpoint"),
        "inputs": {
            "weights": str(weights),
            "essays": str(tiny_language.write_essays(folder / "essays")),
        },
        "config": config | {"device": "cpu", "seeds": [0]},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), "utf-8")
    assert main(["kvquant", "--job", str(path)]) == 0
    lines = (folder / name / "samples.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) | {"t_ms": None} for line in lines]


def render(name: str, **params: Any) -> dict[str, Any]:
    preset = parse_preset((PRESETS / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    return render_config(preset, bind(preset, params), {})


@pytest.mark.parametrize("name", ["kvquant-small", "kvquant-h200", "kvquant-mac-m4"])
def test_a_preset_runs_whole_on_a_small_checkpoint(name, tmp_path):
    config = render(name, samples=1, short=160, long=180, dtype="float32")
    weights = tiny_language.write_model(tmp_path / "model", head_dim=32)
    rows = run(tmp_path, config, weights)
    arms = {row["arm"] for row in rows}
    assert arms == {"identity", "affine8", "affine6", "affine4", "d4", "e8"}
    measures = {row["measure"] for row in rows}
    assert measures == {"recall", "bits_per_value", "rel_mse", "kv_bytes"}
    error = {row["arm"]: row["score"] for row in rows if row["measure"] == "rel_mse"}
    assert error["identity"] == 0 < error["affine8"] < error["affine4"]
    assert run(tmp_path, config, weights, "again") == rows, "resumed rows are the same"


def test_a_hybrid_model_stores_its_full_attention_layers(tmp_path):
    model = tiny_language.make_gemma3()
    model.save_pretrained(tmp_path / "model")
    tiny_language.make_tokenizer().save_pretrained(tmp_path / "model")
    config = {"contexts": [170], "samples": 1, "arms": ["identity", "affine8"]}
    run(tmp_path, config, tmp_path / "model")
    facts = json.loads((tmp_path / "out" / "facts.json").read_text("utf-8"))
    assert facts["stored_layers"] == 1
