"""The restored verifier on models of transformers' own classes, with random weights."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")
import torch

from workloads.shared.layers import FULL, list_attention_layers
from workloads.shared.restored import plans
from workloads.shared.restored.projection import FThetaConfig, FThetaProjection
from workloads.shared.restored.sources import Drafter, MixedSource, OwnSource, ProjectedSource
from workloads.shared.restored.verifier import Verifier
from workloads.shared.tiny_models import build_tiny

LENGTH = 90
MODELS = {
    "gemma4": {"family": "gemma4"},
    "gemma4-shared": {"family": "gemma4", "layers": 8, "period": 2, "shared_layers": 4},
    "gemma4-separate-v": {"family": "gemma4", "k_eq_v": False},
    "gemma3": {"family": "gemma3", "kv_heads": 2},
    "qwen3": {"family": "qwen3", "kv_heads": 2},
    "llama": {"family": "llama", "kv_heads": 2, "layers": 3},
}


@pytest.fixture(params=sorted(MODELS), scope="module")
def model(request):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options = dict(MODELS[request.param])
    return build_tiny(options.pop("family"), seed=1, hidden=64, window=24, **options).eval()


def make_ids(batch=2, length=LENGTH):
    return torch.randint(20, 320, (batch, length), generator=torch.Generator().manual_seed(5))


def last_logits(model, plan, source=None, **options):
    """Logits after the whole prompt, and the verifier that made them."""
    verifier = Verifier(model, plan, source, chunk=options.pop("chunk", 32), **options)
    seen = []
    handle = model.lm_head.register_forward_hook(lambda m, i, output: seen.append(output[:, -1]))
    decoded = verifier.decode(make_ids(), new_tokens=4)
    handle.remove()
    return torch.stack(seen[-4:]), decoded.tokens, decoded.held, verifier


def make_projected(model):
    drafter = Drafter(build_tiny("qwen3", seed=3, hidden=32, layers=2, period=9, window=16))
    widths = {one.index: one.width for one in list_attention_layers(model) if one.owns}
    projection = FThetaProjection(FThetaConfig(drafter.features, 16, widths), seed=4)
    return ProjectedSource(drafter, projection)


def bounded(model, **options):
    layers = list_attention_layers(model)
    return plans.bound(layers, sink=4, window=8, **options)


def test_keeping_all_gives_what_generate_gives(model):
    *_, tokens, _, _ = last_logits(model, plans.keep_all(list_attention_layers(model)))
    theirs = model.generate(make_ids(), max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert torch.equal(tokens, theirs[:, LENGTH:])


def test_keeping_what_the_model_may_read_changes_nothing(model):
    layers = list_attention_layers(model)
    full, *_ = last_logits(model, plans.keep_all(layers))
    native, *_ = last_logits(model, plans.keep_native(layers))
    torch.testing.assert_close(native, full, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 64, LENGTH])
def test_own_entries_restored_are_the_full_cache(model, chunk):
    full, *_ = last_logits(model, plans.keep_all(list_attention_layers(model)))
    identity, _, _, verifier = last_logits(
        model, bounded(model, restored=True), OwnSource(), chunk=chunk
    )
    assert verifier.restored > 0
    torch.testing.assert_close(identity, full, rtol=1e-4, atol=1e-4)


def test_own_entries_restored_for_every_query_are_the_full_cache_too(model):
    full, *_ = last_logits(model, plans.keep_all(list_attention_layers(model)))
    identity, *_ = last_logits(model, bounded(model, restored=True), OwnSource(), replaced=True)
    torch.testing.assert_close(identity, full, rtol=1e-4, atol=1e-4)


def test_nothing_restored_differs_and_holds_sink_and_window_alone(model):
    full, _, full_bytes, _ = last_logits(model, plans.keep_all(list_attention_layers(model)))
    nothing, _, held_bytes, verifier = last_logits(model, bounded(model, restored=False))
    assert not torch.allclose(nothing, full, rtol=1e-3, atol=1e-3)
    assert verifier.restored == 0
    widths = sum(one.width for one in list_attention_layers(model) if one.owns)
    one_position = 2 * 2 * 4 * widths  # K and V, two rows, float32
    assert full_bytes["verifier"] == LENGTH * one_position
    assert sum(held_bytes.values()) <= (4 + 7) * one_position


def test_held_bytes_do_not_grow_with_the_prompt_but_for_latents(model):
    plan = bounded(model, restored=True)
    held = {}
    for length in (100, 200):
        source = make_projected(model)
        verifier = Verifier(model, plan, source, chunk=32)
        verifier.decode(make_ids(length=length), new_tokens=1)
        held[length] = verifier.measure_bytes()
    assert held[100]["verifier"] == held[200]["verifier"]
    full = any(one.kind == FULL for one in list_attention_layers(model))
    latents = 2 * 2 * 16 * 4 * 100 if full else 0  # K and V, two rows, rank 16, float32
    assert held[200]["source"] - held[100]["source"] == latents
    assert held[100]["drafter"] == held[200]["drafter"] > 0


def test_mixing_in_all_of_the_own_is_the_identity(model):
    full, *_ = last_logits(model, plans.keep_all(list_attention_layers(model)))
    mixed = MixedSource(OwnSource(), make_projected(model), 1.0)
    identity, *_ = last_logits(model, bounded(model, restored=True), mixed)
    torch.testing.assert_close(identity, full, rtol=1e-4, atol=1e-4)
    projected = MixedSource(OwnSource(), make_projected(model), 0.0)
    blurred, *_ = last_logits(model, bounded(model, restored=True), projected)
    assert not torch.allclose(blurred, full, rtol=1e-3, atol=1e-3)
    assert all(float(sums[0]) > 0 for sums in projected.errors.values())


def test_a_projection_over_the_wrapped_drafter_is_the_one_over_the_whole_text(model):
    """Streaming in chunks, with the drafter's window wrapped, changes no latent."""
    ids, source = make_ids(), make_projected(model)
    positions = torch.arange(LENGTH)
    with torch.inference_mode():
        source.extend(ids, positions)
        whole = [one.clone() for one in source.latents.held()]
        again = make_projected(model)
        for start in range(0, LENGTH, 11):
            again.extend(ids[:, start : start + 11], positions[start : start + 11])
    for left, right in zip(whole, again.latents.held(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_a_saved_projection_comes_back_the_same(tmp_path):
    projection = FThetaProjection(FThetaConfig(8, 4, {0: 6, 3: 10}), seed=1)
    projection.save(tmp_path / "f")
    again = FThetaProjection.load(tmp_path / "f")
    features = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2))
    for layer, (keys, values) in projection(features, 2 * features).items():
        assert torch.equal(keys, again(features, 2 * features)[layer][0])
        assert torch.equal(values, again(features, 2 * features)[layer][1])
