"""The small preset of the MLX port: what its gates say of rows that the workload really writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import proc
from evidence.record import Assembled, Material, assemble
from tests import evidence_world, tiny_language
from tests.whole_jobs import render, write_job

ROOT = Path(__file__).parents[2]
PRESET = ROOT / "presets" / "mlxport-small.yaml"
SPEC_KEYS = ("metrics", "gates", "plots", "plan")
CONTEXT = 160
TOKENS = 4

pytestmark = [pytest.mark.real("transformers"), pytest.mark.real("mlx_lm")]


def run_and_judge(folder: Path, changes: dict[str, Any], inputs: Any) -> Assembled:
    """One seed of one problem in a process of its own, and the preset's gates on its rows."""
    params = {"context": CONTEXT, "samples": 1, "new_tokens": TOKENS, "mlx_device": "cpu"}
    config = render("mlxport-small", **params) | {"seeds": [0]} | changes
    written_job = write_job(folder, config, inputs)
    done = proc.run(
        [sys.executable, "-m", "workloads", "mlxport", "--job", str(written_job)],
        cwd=ROOT,
        env=proc.base_env() | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout_s=600,
    )
    assert done.code == 0, done.stderr.decode()
    written = yaml.safe_load(PRESET.read_text("utf-8"))
    spec = {key: written[key] for key in SPEC_KEYS} | {"params": params}
    spec["plan"] = spec["plan"] | {"seeds": [0], "dims": {"context": [CONTEXT]}}
    samples = (folder / "out" / "samples.jsonl").read_bytes()
    return assemble(Material(facts=evidence_world.facts(), spec=spec, samples=samples))


def verdicts_of(assembled: Assembled) -> dict[str, str]:
    return {one.gate.id: one.verdict.value for one in assembled.judged}


def values_of(assembled: Assembled, name: str) -> dict[str, list[float]]:
    """Values by arm."""
    return {one.arm: list(one.values) for one in assembled.metrics if one.name == name}


def test_on_a_model_without_windows_trimming_is_right_and_said_to_be(tmp_path: Path) -> None:
    model = tiny_language.write_model(
        tmp_path / "model", num_hidden_layers=3, tie_word_embeddings=True
    )
    inputs = {"weights": model, "essays": tiny_language.write_essays(tmp_path / "essays")}
    changes = {"drafter_layers": 1, "rank": 16, "texts": 8, "length": 160}
    assembled = run_and_judge(tmp_path, changes, inputs)
    assert verdicts_of(assembled) == {
        "model-finds": "fail",  # its weights are random
        "restoration-happens": "pass",
        "planted-fault-is-caught": "pass",
        "float32-tokens-are-torchs": "inconclusive",
        "float32-logits-are-torchs": "pass",
        "identity-is-the-oracle": "pass",
        "bytes-are-torchs": "pass",
        "a-block-that-stays-is-noticed": "pass",
        "trimming-is-right-without-windows": "pass",
        "snapshot-is-right": "pass",
        "drafts-are-torchs": "pass",
        "blocks-are-lossless": "pass",
    }
    assert values_of(assembled, "same_tokens") == {
        "full": [1], "identity": [1], "sink_window": [1], "projected": [1], "planted": [0],
    }  # fmt: skip
    places = {one.at for one in assembled.metrics if one.name == "rollback_same"}
    assert places == {(("place", "windowless"),)}
    assert assembled.record["gaps"] == []
    assert not assembled.selection.unplanned
