"""Fused decoding whole, as its presets call it, and the training of its drafter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
import torch
from safetensors.torch import save_file

from tests import tiny_language
from tests.whole_jobs import read_facts, read_rows, render, run_job
from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.tiny_models import build_tiny
from workloads.specdecode import boilerplate
from workloads.specdecode.fitting import fit, see_blocks, write_text
from workloads.specdecode.prompts import BoilerplatePrompts, Seen

SHORT = {"prompts": 2, "warmups": 1, "rows": 2, "prompt_tokens": 40, "new_tokens": 20}


def run(folder: Path, config: dict[str, Any], inputs: dict[str, str], name="out") -> list[Any]:
    torch.set_num_threads(1)
    config = config | {"device": "cpu"}
    return read_rows(run_job("specdecode", folder, config, inputs, name=name), timed=True)


def write_problems(folder: Path) -> Path:
    """Problems in the layout of HumanEval."""
    folder.mkdir(parents=True)
    sentences = tiny_language.SENTENCES
    lines = [
        json.dumps({"task_id": f"HumanEval/{at}", "prompt": " ".join(sentences[at % 3 :])})
        for at in range(10)
    ]
    (folder / "HumanEval.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def write_inputs(folder: Path, verifier: Any) -> dict[str, str]:
    tiny_language.save(verifier, folder / "verifier")
    return {
        "weights": str(folder / "verifier"),
        "humaneval": str(write_problems(folder / "humaneval")),
        "essays": str(tiny_language.write_essays(folder / "essays")),
    }


def write_dflash(folder: Path) -> Path:
    """A drafter in the layout of the published checkpoints."""
    config = DrafterConfig(
        hidden=32, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate=48,
        target_layers=(0, 2, 4), mask_token=4, block=8, rope_theta=1_000_000.0,
    )  # fmt: skip
    folder.mkdir()
    document = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0, "block_size": 8,
        "dflash_config": {"mask_token_id": 4, "target_layer_ids": [0, 2, 4]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(document), "utf-8")
    weights = dict(BlockDrafter(config, seed=1).state_dict())
    weights["fc.weight"] = weights.pop("encoder.fc.weight")
    weights["hidden_norm.weight"] = weights.pop("encoder.output_norm_enc.weight")
    save_file(weights, folder / "model.safetensors")
    return folder


def check_identity(rows: list[Any], arms: set[str]) -> None:
    found = {row["arm"] for row in rows if row["measure"] == "call_ms" and not row["warmup"]}
    assert arms <= found
    assert all(row["score"] for row in rows if row["measure"] == "identical")


@pytest.mark.parametrize("name", ["specdecode-h200", "specdecode-mac-m4"])
def test_a_large_preset_runs_whole_on_a_small_checkpoint_of_the_same_classes(name, tmp_path):
    config = render(name, prompts=2, new_tokens=20, prompt_tokens=60, dtype="float32")
    inputs = write_inputs(tmp_path, tiny_language.make_large_gemma4(sliding_window=24))
    inputs["drafter"] = str(write_dflash(tmp_path / "dflash"))
    rows = run(tmp_path, config | {"warmups": 1, "rows": 2 * bool(config["rows"])}, inputs)
    check_identity(rows, set(config["arms"]))
    assert {row["at"]["text"] for row in rows if row["measure"] == "far_apart"} == {"code", "essay"}
    facts = read_facts(tmp_path / "out")
    assert facts["verifier"] == "Gemma4ForCausalLM"
    assert facts["counters"]["always.blocks"] > 0


def test_the_small_preset_trains_a_drafter_for_given_weights(tmp_path):
    config = render("specdecode-small", prompts=2, new_tokens=20, texts=4, steps=3, block=4)
    inputs = write_inputs(tmp_path, tiny_language.make_llama())
    rows = run(tmp_path, config | {"warmups": 1, "prompt_tokens": 40, "chunk": 32}, inputs)
    check_identity(rows, set(config["arms"]))
    assert {row["arm"] for row in rows if row["measure"] == "differs"} == {"fused", "fused_bf16"}
    drafter = BlockDrafter.load(tmp_path / "out" / "artifacts" / "drafter-s0")
    assert drafter.config.block == 4
    assert read_facts(tmp_path / "out")["drafter_parameters"] == sum(
        parameter.numel() for parameter in drafter.parameters()
    )


def test_the_smallest_preset_runs_every_arm_and_is_resumed(tmp_path):
    config = render("specdecode-ci", prompts=4, verifier_steps=10, steps=6) | SHORT
    config |= {"texts": 4, "assistant_steps": 3}
    rows = run(tmp_path, config, {})
    arms = {"greedy", "generate", "assisted", "dflash", "lookup", "fused", "always"}
    check_identity(rows, arms | {"restored", "restored_fused", "fused_bf16"})
    warm = {row["unit"] for row in rows if row["warmup"]}
    assert warm
    assert not warm & {row["unit"] for row in rows if not row["warmup"]}
    parts = {row["at"]["part"] for row in rows if row["measure"] == "part_ms"}
    assert parts == {"prefill", "plain", "draft", "verify", "context", "repeat", "rest"}
    assert run(tmp_path, config, {}, "again") == rows, "resumed rows are the same, times included"
    assert read_facts(tmp_path / "again")["counters"]["units_resumed"] > 5


def test_held_out_prompts_are_none_of_the_training_ones():
    prompts = BoilerplatePrompts()
    training = [prompts.draw_training(0, index, 64) for index in range(50)]
    held = [prompts.draw("in", 0, index, 64) for index in range(20)]
    odd = [prompts.draw("out", 0, index, 64) for index in range(20)]
    assert all(len(one) == 64 for one in (*training, *held, *odd))
    assert not {*map(tuple, held)} & {*map(tuple, training)}
    seen = Seen.collect(training)
    shares = [sum(map(seen.measure_share, some)) / 20 for some in (held, odd)]
    assert shares[0] > 0.5 > 0.1 > shares[1]
    assert seen.measure_share(training[0]) == 1.0
    assert max(map(max, [*training, *held, *odd])) < boilerplate.VOCABULARY


def test_a_block_is_trained_on_what_it_may_know():
    mask = see_blocks(torch.tensor([3, 5]), 2, 8)[0, 0].int().tolist()
    assert mask == [
        [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1],
        [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1],
    ]


def test_a_drafter_learns_what_its_verifier_says_and_goes_on_where_it_was_cut_short(tmp_path):
    torch.set_num_threads(1)
    model = build_tiny("qwen3", seed=1, hidden=64, layers=3, period=2, window=12, vocabulary=96)
    model = model.eval().requires_grad_(False)
    config = DrafterConfig(
        hidden=64, layers=1, heads=2, kv_heads=2, head_dim=32, intermediate=64,
        target_layers=(0, 1), mask_token=0, block=4,
    )  # fmt: skip
    source = torch.Generator().manual_seed(2)
    prompts = [torch.randint(1, 96, (4, 10), generator=source) for _ in range(2)]
    texts = [write_text(model, one, (0, 1), new_tokens=24, chunk=16) for one in prompts]

    class DeathError(Exception):
        """The machine goes away."""

    def train(snapshot, die_at=None):
        def on_step(step):
            if step.step == die_at:
                raise DeathError

        drafter = BlockDrafter(config, seed=1)
        history = fit(
            model, drafter, texts, steps=110, rate=1e-2, anchors=4, seed=0, snapshot=snapshot,
            on_step=on_step,
        )  # fmt: skip
        return [(one.loss, one.accuracy) for one in history], drafter.state_dict()

    whole, weights = train(None)
    assert sum(loss for loss, _ in whole[-10:]) < 0.8 * sum(loss for loss, _ in whole[:10])
    with pytest.raises(DeathError):
        train(tmp_path / "fit.pt", die_at=104)
    again, resumed = train(tmp_path / "fit.pt")
    assert again == whole
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
