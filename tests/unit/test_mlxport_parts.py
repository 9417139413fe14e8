"""Parts of the MLX port: divergences, plans, configs and devices that it takes or refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip(
    "mlx_lm", reason="needs the real part 'mlx_lm': pip install 'kakeya-remote[mlx]'"
)
import mlx.core as mx
import numpy as np
import torch

from bridge.errors import UsageError
from workloads.mlxport import caches, models, parity
from workloads.shared.restored.plans import Plan


def test_a_divergence_is_a_near_tie_only_within_the_rounding_of_torch_itself():
    exact = np.array([[[1.0, 0.9, 0.0], [3.0, 0.0, 0.0]]])
    theirs = exact + np.array([0.06, 0.0, 0.0])
    ours = exact + np.array([[[0.0, 0.2, 0.0], [0.0, 4.0, 0.0]]])
    near, far = parity.find_divergences(theirs, ours, exact)
    assert (near["step"], near["near_tie"]) == (0, True)
    assert (far["step"], far["near_tie"]) == (1, False)
    assert parity.find_divergences(theirs, theirs, exact) == []


def test_both_caches_agree_on_what_a_plan_reads():
    """The same plan, asked by numpy and by torch."""
    draw = random.Random(3)
    for _ in range(50):
        plan = Plan(
            draw.randrange(4), draw.choice([None, 1, 5]), draw.choice([None, 7]),
            draw.random() < 0.5,
        )  # fmt: skip
        seen, count = draw.randrange(12), draw.randrange(1, 5)
        rows, places = np.arange(seen, seen + count)[:, None], np.arange(seen + count)[None, :]
        for restored in (False, True):
            theirs = plan.see(torch.tensor(rows), torch.tensor(places), restored=restored)
            assert plan.see(rows, places, restored=restored).tolist() == theirs.tolist()
        kept = plan.keep(torch.arange(seen), seen)
        assert plan.keep(np.arange(seen), seen).tolist() == kept.tolist()
        cache = caches.HeldCache(plan)
        assert np.array(cache.make_mask(count)).shape[0] == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral"}, "never compared"),
        ({"model_type": "qwen3", "layer_types": ["sliding_attention", "full_attention"]}, "hybrid"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "last layer"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(tmp_path, changes, message):
    document = {"model_type": "gemma4_text", "layer_types": ["full_attention"]} | changes
    (tmp_path / "config.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(UsageError, match=message):
        models.load(tmp_path)


def test_keys_that_mlx_lm_looks_for_elsewhere_are_laid_over():
    gemma = {
        "model_type": "gemma4_text", "layer_types": ["sliding_attention", "full_attention"],
        "head_dim": 32, "num_key_value_heads": 4, "per_layer_config": {"1": {"head_dim": 64}},
        "rope_parameters": {"full_attention": {"rope_theta": 5.0}},
    }  # fmt: skip
    expected = {"global_head_dim": 64, "num_global_key_value_heads": 4}
    assert models.patch_config(gemma) == expected
    whole = {"model_type": "gemma4", "text_config": gemma}
    assert models.patch_config(whole) == {"text_config": gemma | expected}
    assert models.patch_config(gemma | {"global_head_dim": 8}) == {}
    llama = {"model_type": "llama", "rope_parameters": {"rope_theta": 7.0}}
    assert models.patch_config(llama) == {"rope_theta": 7.0}


def test_a_gpu_that_is_not_there_is_refused():
    if mx.metal.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="no GPU"):
        models.choose_device("gpu")


def test_no_compiler_is_started_on_a_cpu():
    if "gpu" in models.choose_device("auto"):
        pytest.skip("Metal compiles in its own process")
    started = Path("/tmp/mlx")
    before = set(started.rglob("*")) if started.exists() else set()
    grow = mx.compile(lambda one: mx.exp(mx.sin(one) * 0.731) + one)  # of no other test
    assert float(grow(mx.array(0.0))) == pytest.approx(1.0)
    assert (set(started.rglob("*")) if started.exists() else set()) == before
