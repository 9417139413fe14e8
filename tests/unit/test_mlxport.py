"""The MLX port against torch, for real: parity, rollback, planted faults."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("transformers")
pytest.importorskip(
    "mlx_lm", reason="needs the real part 'mlx_lm': pip install 'kakeya-remote[mlx]'"
)
import mlx.core as mx
import numpy as np
import torch
from mlx_lm.generate import generate_step

from bridge.errors import UsageError
from workloads.mlxport import decoding, drafting, models, parity, rollback
from workloads.mlxport.config import Config
from workloads.mlxport.drafter import PortedBlockDrafter
from workloads.mlxport.projection import PortedProjection
from workloads.mlxport.subjects import Folders, Subject
from workloads.mlxport.verifier import NativeVerifier, RestoredVerifier, make_native_caches
from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.layers import FULL, list_attention_layers
from workloads.shared.restored import plans
from workloads.shared.restored.projection import FThetaConfig, FThetaProjection
from workloads.shared.tasks import SyntheticTask, Unit
from workloads.shared.tiny_models import build_tiny

LENGTH = 90
WINDOW = 24
MODELS = {
    "gemma4": {"family": "gemma4"},
    "gemma4-shared": {"family": "gemma4", "layers": 8, "period": 2, "shared_layers": 4},
    "gemma4-separate-v": {"family": "gemma4", "k_eq_v": False},
    "qwen3-sliding": {"family": "qwen3", "kv_heads": 2, "layers": 3, "period": 9},
    "llama": {"family": "llama", "kv_heads": 2, "layers": 3},
}
CONFIG = Config(contexts=(LENGTH,), chunk=32, new_tokens=6, drafter_layers=2, rank=16)


def sharpen(model):
    """Weights larger than usual, so that attention is far from uniform."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.15)
    return model.eval().requires_grad_(False)


def save_parts(folder, options) -> Subject:
    """A random verifier with drafters and a random projection, on disk for both sides."""
    torch.set_num_threads(1)
    options = dict(options)
    model = sharpen(build_tiny(options.pop("family"), seed=1, hidden=64, window=WINDOW, **options))
    model.save_pretrained(folder / "verifier")
    layers = list_attention_layers(model)
    given = None
    drafting_layers = layers[: CONFIG.drafter_layers]
    if any(not layer.owns for layer in layers):  # its first layers alone are no model
        given = folder / "drafter"
        drafter = sharpen(build_tiny("qwen3", seed=3, hidden=32, layers=2, period=9, window=16))
        drafter.save_pretrained(given)
        drafting_layers = list_attention_layers(drafter)
    features = sum(layer.width for layer in drafting_layers)
    widths = {layer.index: layer.width for layer in layers if layer.owns}
    projection = FThetaProjection(FThetaConfig(features, CONFIG.rank, widths), seed=4)
    projection.save(folder / "projection")
    shape = DrafterConfig(
        hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=48,
        target_layers=(0, len(layers) - 2), mask_token=7, block=6,
    )  # fmt: skip
    BlockDrafter(shape, seed=3).save(folder / "block_drafter")
    found = Folders(folder / "verifier", given, folder / "projection", folder / "block_drafter")
    return Subject(SyntheticTask(), found, CONFIG.drafter_layers)


@pytest.fixture(scope="module", autouse=True)
def device():
    return models.choose_device("auto")


@pytest.fixture(params=sorted(MODELS), scope="module")
def subject(request, tmp_path_factory):
    return save_parts(tmp_path_factory.mktemp(request.param), MODELS[request.param])


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return save_parts(tmp_path_factory.mktemp("gemma"), MODELS["gemma4"])


@pytest.fixture
def port(subject):
    return subject.load_port("float32")


def make_ids(length=LENGTH, rows=2):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(20, 320, (rows, length), generator=generator)


def list_arms(port):
    hybrid = {layer.kind for layer in port.verifier.layers} > {FULL}
    return ["full", "native", "identity", "sink_window", "projected", *(["s5"] if hybrid else [])]


def test_every_arm_gives_torchs_tokens_and_logits_and_holds_as_many_bytes(subject, port):
    reference = subject.load_reference("float32")
    ids = make_ids()
    for arm in list_arms(port):
        theirs = reference.make_verifier(CONFIG, arm)
        decoded = theirs.decode(ids, new_tokens=CONFIG.new_tokens)
        ours = port.make_verifier(CONFIG, arm)
        logits = ours.prefill(mx.array(ids.numpy()))
        held = ours.measure_bytes()
        tokens = decoding.go_on(ours, logits, new_tokens=CONFIG.new_tokens)
        assert tokens.tolist() == decoded.tokens.tolist(), arm
        assert held == decoded.held, arm
        assert ours.restored == theirs.restored, arm
        led = parity.lead(reference.make_verifier(CONFIG, arm), CONFIG, ids, decoded.tokens)
        again = port.make_verifier(CONFIG, arm)
        found = decoding.score(again, mx.array(ids.numpy()), mx.array(tokens))
        np.testing.assert_allclose(found, led, rtol=1e-3, atol=1e-3, err_msg=arm)


def test_a_projection_with_k_and_v_mistaken_is_caught(gemma):
    port, reference = gemma.load_port("float32"), gemma.load_reference("float32")
    ids = make_ids()
    decoded = reference.make_verifier(CONFIG, "projected").decode(ids, new_tokens=6)
    led = parity.lead(reference.make_verifier(CONFIG, "projected"), CONFIG, ids, decoded.tokens)
    found = decoding.score(
        port.make_verifier(CONFIG, "planted"), mx.array(ids.numpy()), mx.array(decoded.tokens)
    )
    assert float(np.abs(found - led).max()) > 0.1


def test_greedy_decoding_is_that_of_mlx_lm(port):
    ids = make_ids(rows=1)
    steps = generate_step(
        mx.array(ids[0].numpy()),
        port.verifier.model,
        max_tokens=8,
        prompt_cache=make_native_caches(port.verifier),
    )
    theirs = [int(token) for token, _ in steps]
    native = NativeVerifier(port.verifier, chunk=32)
    assert decoding.decode_greedy(native, mx.array(ids.numpy()), new_tokens=8)[0].tolist() == theirs


@pytest.mark.parametrize("chunk", [1, 7, LENGTH])
def test_how_the_prompt_is_cut_changes_nothing(gemma, chunk):
    port, ids = gemma.load_port("float32"), mx.array(make_ids().numpy())
    expected = port.make_verifier(CONFIG, "projected").prefill(ids)
    cut = Config(contexts=(LENGTH,), chunk=chunk)
    found = port.make_verifier(cut, "projected").prefill(ids)
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-3, atol=1e-3)


def test_evicted_entries_are_freed_and_not_only_hidden(gemma):
    """MLX's own count of memory, not the sizes that arrays say they have."""
    port = gemma.load_port("float32")
    sizes = []
    for length in (200, 400):
        ids = mx.array(make_ids(length).numpy())
        verifier = port.make_verifier(CONFIG, "sink_window")
        mx.clear_cache()
        before = mx.get_active_memory()
        verifier.prefill(ids)
        sizes.append(mx.get_active_memory() - before)
    assert sizes[1] - sizes[0] < 10_000, "a full cache grows by 800 kB"


def test_trimming_a_cache_that_has_wrapped_is_wrong_and_a_snapshot_is_right(gemma):
    port = gemma.load_port("float32")
    short, long = mx.array(make_ids(12, rows=1).numpy()), mx.array(make_ids(rows=1).numpy())
    for arm in rollback.ARMS:
        assert rollback.measure_error(CONFIG, port, arm, short) <= rollback.TOLERANCE
    for arm in ("snapshot", "restored"):
        assert rollback.measure_error(CONFIG, port, arm, long) <= rollback.TOLERANCE
    for arm in ("trim", "trim_forced"):
        assert rollback.measure_error(CONFIG, port, arm, long) > 0.1


@pytest.mark.parametrize("restored", [False, True])
def test_blocks_of_every_acceptance_length_leave_the_text_as_it_was(port, restored):
    ids = mx.array(make_ids(rows=1).numpy())

    def make():
        if restored:
            return port.make_verifier(CONFIG, "projected")
        return NativeVerifier(port.verifier, chunk=32)

    truth = decoding.decode_greedy(make(), ids, new_tokens=30)[0].tolist()
    lengths = set()
    for seed in range(4):
        drafter = drafting.ScriptedDrafter(truth, block=6, vocabulary=320, seed=str(seed))
        fused = decoding.decode_fused(make(), drafter, ids, new_tokens=30)
        assert fused.tokens == truth
        lengths |= {accepted for _, _, accepted in fused.drafts}
    assert lengths == set(range(6))


def test_a_block_drafter_drafts_what_torchs_drafts(subject, port):
    drafter = subject.load_block_drafter(port)
    problem = subject.task.make_problem(Unit(LENGTH, 0, 0))
    verifier = NativeVerifier(port.verifier, chunk=32, targets=drafter.config.target_layers)
    ids = mx.array([problem.ids])
    fused = decoding.decode_fused(verifier, drafter, ids, new_tokens=12)
    reference = subject.load_reference("float32").model
    theirs = BlockDrafter.load(subject.folders.block_drafter).eval()
    assert drafting.compare_drafts(reference, theirs, problem.ids, fused) == 1.0
    other = BlockDrafter(theirs.config, seed=9).eval()
    assert drafting.compare_drafts(reference, other, problem.ids, fused) < 1.0


def test_layers_of_one_kind_need_one_plan(gemma):
    ported = gemma.load_port("float32").verifier
    mixed = plans.bound(ported.layers, sink=1, window=4, restored=False, exact=[0])
    with pytest.raises(UsageError, match="one plan"):
        RestoredVerifier(ported, mixed)


def test_a_projection_that_does_not_fit_is_refused(gemma, tmp_path):
    for name in ("f_theta_config.json", "f_theta.safetensors"):
        (tmp_path / name).write_bytes((gemma.folders.projection / name).read_bytes())
    config = json.loads((tmp_path / "f_theta_config.json").read_text("utf-8"))
    config["rank"] += 1
    (tmp_path / "f_theta_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(UsageError, match="no projection"):
        PortedProjection.load(tmp_path, dtype=mx.float32)
    with pytest.raises(UsageError, match="no drafter"):
        PortedBlockDrafter.load(tmp_path, gemma.load_port("float32").verifier)
