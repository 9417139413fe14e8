"""The MLX port whole, as its presets call it, on small checkpoints of the large classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("mlx_lm", reason="needs 'mlx_lm': pip install 'kakeya-remote[mlx]'")
import torch
import transformers

from presets.binding import bind, render_config
from presets.definition import parse_preset
from tests import tiny_language
from workloads.__main__ import main
from workloads.shared import job
from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.layers import list_attention_layers
from workloads.shared.restored.projection import FThetaConfig, FThetaProjection

PRESETS = Path(__file__).parents[2] / "presets"


def save_gemma(folder: Path, *, experts: bool = True) -> Any:
    """The classes and the shape of Gemma-4-26B-A4B (experts, K as V, 5:1, softcap), very small."""
    torch.manual_seed(3)
    config = transformers.Gemma4TextConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, global_head_dim=32,
        num_global_key_value_heads=1, attention_k_eq_v=True, sliding_window=48,
        max_position_embeddings=2048, hidden_size_per_layer_input=0, enable_moe_block=experts,
        num_experts=4, top_k_experts=2, moe_intermediate_size=16, pad_token_id=0,
        final_logit_softcapping=30.0, use_double_wide_mlp=False,
    )  # fmt: skip
    model = transformers.Gemma4ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # larger than usual, so that attention is far from uniform
                parameter.normal_(0.0, 0.2)
    model.save_pretrained(folder)
    tiny_language.make_tokenizer().save_pretrained(folder)
    return model


def run(folder: Path, config: dict[str, Any], inputs: dict[str, str], name: str = "out") -> Any:
    torch.set_num_threads(1)
    document = {
        "schema": job.SCHEMA,
        "out": str(folder / name),
        "checkpoint": str(folder / "checkpoint"),
        "inputs": inputs,
        "config": config | {"seeds": [0], "mlx_device": "auto"},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), "utf-8")
    assert main(["mlxport", "--job", str(path)]) == 0
    lines = (folder / name / "samples.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def render(name: str, **params: Any) -> dict[str, Any]:
    preset = parse_preset((PRESETS / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    return render_config(preset, bind(preset, params), {})


def list_scores(rows: Any, measure: str, **at: Any) -> dict[str, list[float]]:
    """Scores by arm."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["measure"] == measure and at.items() <= row["at"].items():
            found.setdefault(row["arm"], []).append(row["score"])
    return found


def without_times(rows: Any) -> list[dict[str, Any]]:
    return [row | {"t_ms": None} for row in rows if row["measure"] != "token_ms"]


@pytest.mark.parametrize("experts", [True, False])
def test_the_tiny_preset_compares_a_model_of_the_large_classes_with_torch(tmp_path, experts):
    config = render("mlxport-tiny", samples=1, short=160, long=180, rank=16, new_tokens=6)
    config |= {"texts": 8, "length": 160}
    if experts:  # MLX's CPU backend multiplies gathered experts in float32 alone
        config["dtypes"] = ["float32"]
    save_gemma(tmp_path / "verifier", experts=experts)
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
    facts = json.loads((tmp_path / "again" / "facts.json").read_text("utf-8"))
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
    facts = json.loads((tmp_path / "out" / "facts.json").read_text("utf-8"))
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
    path = tmp_path / "job.json"
    document = {"schema": job.SCHEMA, "out": str(tmp_path / "out"), "config": config}
    path.write_text(json.dumps(document), "utf-8")
    assert main(["mlxport", "--job", str(path)]) == 2
    assert message in capsys.readouterr().err
