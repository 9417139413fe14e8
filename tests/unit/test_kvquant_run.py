"""The K/V storage workload whole, as its presets call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
import torch

from tests import tiny_language
from tests.whole_jobs import read_facts, read_rows, render, run_job


def run(folder: Path, config: dict[str, Any], weights: Path, name: str = "out") -> list[Any]:
    torch.set_num_threads(1)
    inputs = {"weights": weights, "essays": tiny_language.write_essays(folder / "essays")}
    config = config | {"device": "cpu", "seeds": [0]}
    return read_rows(run_job("kvquant", folder, config, inputs, name=name))


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
    tiny_language.save(tiny_language.make_gemma3(), tmp_path / "model")
    config = {"contexts": [170], "samples": 1, "arms": ["identity", "affine8"]}
    run(tmp_path, config, tmp_path / "model")
    assert read_facts(tmp_path / "out")["stored_layers"] == 1
