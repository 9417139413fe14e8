"""The MLX port whole, as its presets call it, on small checkpoints of the large classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("mlx_lm", reason="needs 'mlx_lm': pip install 'kakeya-remote[mlx]'")
import torch

from tests import tiny_language
from tests.whole_jobs import read_facts, read_rows, render, run_job, write_job
from workloads.__main__ import main
from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.layers import list_attention_layers
from workloads.shared.restored.projection import FThetaConfig, FThetaProjection


def save_gemma(folder: Path, **changes: Any) -> Any:
    model = tiny_language.make_large_gemma4(
        head_dim=16, global_head_dim=32, use_double_wide_mlp=False, **changes
    )
    return tiny_language.save(model, folder)


def run(folder: Path, config: dict[str, Any], inputs: dict[str, Any], name: str = "out") -> Any:
    torch.set_num_threads(1)
    config = config | {"seeds": [0], "mlx_device": "auto"}
    return read_rows(run_job("mlxport", folder, config, inputs, name=name))


def list_scores(rows: Any, measure: str, **at: Any) -> dict[str, list[float]]:
    """Scores by arm."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["measure"] == measure and at.items() <= row["at"].items():
            found.setdefault(row["arm"], []).append(row["score"])
    return found


def without_times(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if row["measure"] != "token_ms"]


@pytest.mark.parametrize("experts", [True, False])
def test_the_tiny_preset_compares_a_model_of_the_large_classes_with_torch(tmp_path, experts):
    config = render("mlxport-tiny", samples=1, short=160, long=180, rank=16, new_tokens=6)
    config |= {"texts": 8, "length": 160}
    if experts:  # MLX's CPU backend multiplies gathered experts in float32 alone
        config["dtypes"] = ["float32"]
    save_gemma(tmp_path / "verifier", enable_moe_block=experts)
    inputs = {
        "weights": str(tmp_path / "verifier"),
        "essays": str(tiny_language.write_essays(tmp_path / "essays")),
    }
    rows = run(tmp_path, config, inputs)
    same = list_scores(rows, "same_tokens", dtype="float32")
    assert set(same) == set(config["arms"])
    assert all(scores == [1, 1] for arm, scores in same.items() if arm != "planted")
    assert 0 in same["planted"]
    errors = list_scores(rows, "logit_error", dtype="float32")
    assert max(max(scores) for arm, scores in errors.items() if arm != "planted") < 1e-3
    assert min(errors["planted"]) > 0.1
    wrong = list_scores(rows, "unexplained")
    assert all(sum(scores) == 0 for arm, scores in wrong.items() if arm != "planted")
    assert experts or sum(wrong["planted"]) > 0
    bytes_here, bytes_there = (list_scores(rows, f"kv_bytes_{side}") for side in ("mlx", "torch"))
    assert bytes_here == bytes_there
    assert list_scores(rows, "draft_same") == {"fused": [1.0]}
    assert set(map(tuple, list_scores(rows, "lossless").values())) == {(1.0,)}
    again = run(tmp_path, config, inputs, "again")
    assert without_times(again) == without_times(rows), "resumed rows are the same"
    facts = read_facts(tmp_path / "again")
    assert facts["counters"]["units_resumed"] == 2 * len(config["dtypes"]) + 2
    assert facts["layers"] == {"sliding_attention": 5, "full_attention": 1}


def test_the_mac_preset_runs_whole_on_a_small_checkpoint_of_the_same_classes(tmp_path):
    config = render("mlxport-mac-m4", samples=1, short=200, long=260, new_tokens=6)
    assert config["mlx_device"] == "gpu"
    model = save_gemma(tmp_path / "verifier")
    drafter = tiny_language.make_llama()
    drafter.save_pretrained(tmp_path / "drafter")
    features = sum(layer.width for layer in list_attention_layers(drafter))
    widths = {layer.index: layer.width for layer in list_attention_layers(model)}
    FThetaProjection(FThetaConfig(features, 8, widths)).save(tmp_path / "projection")
    shape = DrafterConfig(
        hidden=32, layers=1, heads=4, kv_heads=2, head_dim=16, intermediate=48,
        target_layers=(0, 4), mask_token=7, block=4,
    )  # fmt: skip
    BlockDrafter(shape, seed=3).save(tmp_path / "block_drafter")
    inputs = {
        "weights": str(tmp_path / "verifier"),
        "essays": str(tiny_language.write_essays(tmp_path / "essays")),
        **{role: str(tmp_path / role) for role in ("drafter", "projection", "block_drafter")},
    }
    rows = run(tmp_path, config, inputs)
    assert set(list_scores(rows, "recall_mlx")) == set(config["arms"])
    held = {arm: max(scores) for arm, scores in list_scores(rows, "kv_bytes_mlx").items()}
    assert held["sink_window"] < held["s5"] < held["full"]
    right = list_scores(rows, "rollback_same", place="wrapped")
    assert right["snapshot"] == right["restored"] == [1]
    assert right["trim"] == right["trim_forced"] == [0]
    assert set(map(tuple, list_scores(rows, "lossless").values())) == {(1.0,)}
    facts = read_facts(tmp_path / "out")
    assert facts["counters"]["projected.restored_positions"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtypes": ["bfloat16"]}, "float32 first"),
        ({"arms": ["s5", "full"]}, "full comes first"),
        ({"block": 1}, "outside 2 to 256"),
    ],
)
def test_a_config_that_cannot_be_measured_is_refused(tmp_path, capsys, changes, message):
    config = render("mlxport-tiny") | {"seeds": [0]} | changes
    assert main(["mlxport", "--job", str(write_job(tmp_path, config))]) == 2
    assert message in capsys.readouterr().err
