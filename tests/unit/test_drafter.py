"""The block-diffusion drafter: against transformers' own, and against itself without a cache."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("transformers")
import torch
import transformers
from safetensors.torch import save_file

from bridge.errors import UsageError
from workloads.shared.buffers import PositionBuffer
from workloads.shared.drafter import BlockDrafter, ContextCache, DrafterConfig, embed_unscaled

CONFIG = DrafterConfig(
    hidden=32, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=48,
    target_layers=(0, 2), mask_token=7, block=6, rope_theta=5_000.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def drafter():
    torch.set_num_threads(1)
    made = BlockDrafter(CONFIG, seed=3).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():  # norms that do nothing would hide a mistake
        if "norm" in name:
            torch.manual_seed(len(name))
            parameter.uniform_(0.5, 1.5)
    return made


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def start(place):
    return torch.tensor([place])


def draft_whole(drafter, features, block, place):
    """The block after `place` positions of context, without a cache."""
    count, length = block.shape[1], place + block.shape[1]
    mask = torch.ones(1, 1, count, length, dtype=torch.bool)
    return drafter(block, features[:, :place], place + torch.arange(count)[None], mask)


def test_it_is_the_drafter_of_transformers(drafter):
    config = transformers.MuseGlimmerAssistantConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-6, block_size=6, mask_token_id=7,
        target_layer_ids=[0, 2], layer_types=["full_attention"] * 2,
        rope_parameters={"rope_type": "default", "rope_theta": 5_000.0},
    )  # fmt: skip
    theirs = transformers.MuseGlimmerAssistantModel(config).eval()
    theirs.load_state_dict(drafter.state_dict())
    features, block = draw(1, 11, 64), draw(1, 6, 32, seed=2)
    expected = theirs(noise_embeds=block, context_hidden_states=features).last_hidden_state
    found = draft_whole(drafter, features, block, 11)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_context_that_grows_is_the_one_that_is_computed_at_once(drafter):
    features, block = draw(1, 40, 64), draw(1, 6, 32, seed=2)
    cache = ContextCache(CONFIG)
    drafter.extend(cache, features[:, :9], start(0), 9)
    place = 9
    for accepted in (3, 1, 6, 2, 6, 1):
        found = drafter.draft(cache, block, start(place), place + 6)
        expected = draft_whole(drafter, features, block, place)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        span = features[:, place : place + accepted]
        drafter.extend(cache, span, start(place), place + accepted)
        place += accepted


def test_rows_of_unequal_length_are_drafted_as_each_alone(drafter):
    features, block = draw(3, 40, 64), draw(3, 6, 32, seed=2)
    places = torch.tensor([8, 8, 8])
    cache = ContextCache(CONFIG)
    drafter.extend(cache, features[:, :8], start(0), 8)
    for accepted in ([6, 1, 3], [1, 5, 2], [4, 4, 1]):
        end = int(places.max()) + 6
        found = drafter.draft(cache, block, places, end)
        for row, place in enumerate(places.tolist()):
            alone = slice(row, row + 1)
            expected = draft_whole(drafter, features[alone], block[alone], place)
            torch.testing.assert_close(found[alone], expected, rtol=1e-4, atol=1e-5)
        index = places[:, None] + torch.arange(6)  # all of the block; the rejected are rewritten
        span = features.gather(1, index[..., None].expand(-1, -1, 64))
        drafter.extend(cache, span, places, end)
        places = places + torch.tensor(accepted)


def test_a_block_does_not_see_what_comes_after_its_anchor(drafter):
    features, block = draw(1, 20, 64), draw(1, 6, 32, seed=2)
    changed = features.clone()
    changed[:, 9:] += 1
    same = draft_whole(drafter, changed, block, 9)
    assert torch.equal(draft_whole(drafter, features, block, 9), same)


def test_a_saved_drafter_comes_back_the_same(drafter, tmp_path):
    drafter.save(tmp_path / "drafter")
    again = BlockDrafter.load(tmp_path / "drafter")
    assert again.config == CONFIG
    state = drafter.state_dict()
    assert all(torch.equal(state[name], one) for name, one in again.state_dict().items())


@pytest.mark.parametrize("own_names", [True, False])
def test_a_published_checkpoint_is_read(drafter, tmp_path, own_names):
    """DFlash's own layout of config and names, and that of transformers."""
    shared = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-6, "block_size": 6,
    }  # fmt: skip
    inner = {"mask_token_id": 7, "target_layer_ids": [0, 2]}
    weights = dict(drafter.state_dict())
    if own_names:
        document = shared | {"rope_theta": 5_000.0, "dflash_config": inner}
        weights["fc.weight"] = weights.pop("encoder.fc.weight")
        weights["hidden_norm.weight"] = weights.pop("encoder.output_norm_enc.weight")
    else:
        document = shared | inner | {"rope_parameters": {"rope_theta": 5_000.0}}
    (tmp_path / "config.json").write_text(json.dumps(document), "utf-8")
    save_file(weights, tmp_path / "model.safetensors")
    again = BlockDrafter.load(tmp_path)
    assert again.config == CONFIG
    assert torch.equal(again.encoder.fc.weight, drafter.encoder.fc.weight)


def test_a_folder_without_a_drafter_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no drafter"):
        BlockDrafter.load(tmp_path)


def test_the_embedding_is_taken_without_a_factor():
    from workloads.shared.tiny_models import build_tiny

    embedding = build_tiny("gemma4", seed=0, hidden=64, layers=2, period=2).get_input_embeddings()
    ids = torch.tensor([[4, 9]])
    torch.testing.assert_close(embed_unscaled(embedding, ids) * 8, embedding(ids))


@pytest.mark.parametrize("ring", [None, 14])
def test_a_buffer_holds_what_was_written_last_for_each_position(ring):
    """Blocks of five, of which one to five stay; single entries between; rows of all lengths."""
    source = torch.Generator().manual_seed(4)
    window = 9
    buffer = PositionBuffer(ring=ring)
    truth = torch.zeros(3, 200)
    ends = torch.zeros(3, dtype=torch.long)
    for step in range(30):
        count = 1 if step % 4 == 3 else 5
        places = ends[:, None] + torch.arange(count)
        values = torch.rand(3, count, generator=source)
        truth.scatter_(1, places, values)
        high = int(places.max()) + 1
        entries = values[:, None, :, None]
        buffer.write(entries, -entries, ends, high)
        keys, others = buffer.read(high)
        held = buffer.positions(ends + count, high)
        assert torch.equal(keys, -others)
        for row in range(3):
            for query in places[row].tolist():
                near = (held[row] <= query) & (held[row] > query - window) & (held[row] >= 0)
                assert int(near.sum()) == min(query + 1, window)
                torch.testing.assert_close(keys[row, 0, near, 0], truth[row, held[row][near]])
        ends = ends + torch.randint(1, count + 1, (3,), generator=source)
