"""Fused decoding is greedy decoding, token for token, whatever the drafter says."""

from __future__ import annotations

from typing import ClassVar

import pytest

pytest.importorskip("transformers")
import torch

from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.tiny_models import build_tiny
from workloads.specdecode.decoding import Fused, decode_greedy
from workloads.specdecode.policy import ALLOWANCE, PATIENCE, Adaptive, Always, Costs, Look
from workloads.specdecode.reading import PositionReader, RestoredReader
from workloads.specdecode.repeats import Repeats

LENGTH, NEW, BLOCK, WINDOW = 40, 30, 6, 12
MODELS = {
    "gemma4": {"family": "gemma4"},
    "gemma4-shared": {"family": "gemma4", "layers": 8, "period": 2, "shared_layers": 4},
    "gemma3": {"family": "gemma3", "kv_heads": 2},
    "qwen3": {"family": "qwen3", "kv_heads": 2, "period": 2},
    "qwen3-sliding": {"family": "qwen3", "kv_heads": 2, "period": 9},
    "llama": {"family": "llama", "kv_heads": 2, "layers": 3},
}


@pytest.fixture(params=sorted(MODELS), scope="module")
def model(request):
    torch.set_num_threads(1)
    options = dict(MODELS[request.param])
    made = build_tiny(options.pop("family"), seed=1, hidden=64, window=WINDOW, **options)
    return made.eval().requires_grad_(False)


def make_ids(rows=1, length=LENGTH):
    return torch.randint(20, 320, (rows, length), generator=torch.Generator().manual_seed(5))


def make_drafter(model, **changes):
    sizes = {
        "hidden": 64, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 32, "intermediate": 64,
        "target_layers": (0, 1), "mask_token": 3, "block": BLOCK,
    }  # fmt: skip
    return BlockDrafter(DrafterConfig(**(sizes | changes)), seed=2).eval().requires_grad_(False)


class Prophet(BlockDrafter):
    """Knows the greedy text, and is wrong where it is told to be."""

    def tell(self, head, rows, wrong):
        self.head, self.rows, self.wrong = head.weight, rows, wrong

    def draft(self, cache, block, starts, end):
        hidden = super().draft(cache, block, starts, end).clone()
        starts = starts.expand(len(block))
        for row, start in enumerate(starts.tolist()):
            for place in range(1, block.shape[1]):
                position = start + place
                token = int(self.rows[row, min(position, self.rows.shape[1] - 1)])
                if self.wrong(row, position):
                    token = (token + 1) % len(self.head)
                # The state whose product with the head is largest at the token.
                hidden[row, place] = self.states[token]
        return hidden

    @property
    def states(self):
        return torch.linalg.pinv(self.head.float()).T.contiguous()


def read_greedy(model, ids, new=NEW):
    return decode_greedy(PositionReader(model, longest=16), ids, new_tokens=new).tokens


@pytest.mark.parametrize("rows", [1, 8])
def test_plain_decoding_is_that_of_transformers(model, rows):
    ids = make_ids(rows)
    theirs = model.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    assert torch.equal(read_greedy(model, ids), theirs[:, LENGTH:])


@pytest.mark.parametrize("rows", [1, 8])
def test_an_untrained_drafter_changes_no_token(model, rows):
    """The sliding cache has wrapped before the first block."""
    assert LENGTH > WINDOW + BLOCK
    ids = make_ids(rows)
    reader = PositionReader(model, (0, 1), longest=16)
    fused = Fused(model, make_drafter(model), reader).decode(ids, new_tokens=NEW)
    assert torch.equal(fused.tokens, read_greedy(model, ids))
    assert fused.parts.blocks > 20 > fused.parts.steps


@pytest.mark.parametrize("rows", [1, 8])
def test_drafts_that_are_partly_right_change_no_token_and_save_forwards(model, rows):
    """Every row is wrong at places of its own, so that acceptance is ragged."""
    ids = make_ids(rows)
    expected = read_greedy(model, ids, NEW + BLOCK)
    drafter = make_drafter(model)
    drafter.__class__ = Prophet
    drafter.tell(
        model.get_output_embeddings(),
        torch.cat([ids, expected], dim=1),
        lambda row, position: (position + row) % (5 + row % 3) == 0,
    )
    reader = PositionReader(model, (0, 1), longest=16)
    fused = Fused(model, drafter, reader).decode(ids, new_tokens=NEW)
    assert torch.equal(fused.tokens, expected[:, :NEW])
    assert fused.parts.blocks < NEW - 5
    assert max(fused.parts.gained) > 2


def test_drafting_over_a_restored_cache_changes_no_token(model):
    """Sink and window alone are exact; blocks are rolled back in it as well."""
    ids = make_ids()
    expected = read_greedy(model, ids, NEW + BLOCK)
    sizes = {"sink": 4, "window": 8, "longest": 16}
    plain = decode_greedy(RestoredReader(model, **sizes), ids, new_tokens=NEW)
    assert torch.equal(plain.tokens, expected[:, :NEW])
    drafter = make_drafter(model)
    drafter.__class__ = Prophet
    text = torch.cat([ids, expected], dim=1)
    drafter.tell(model.get_output_embeddings(), text, lambda row, position: position % 5 == row)
    reader = RestoredReader(model, (0, 1), **sizes)
    fused = Fused(model, drafter, reader).decode(ids, new_tokens=NEW)
    assert torch.equal(fused.tokens, expected[:, :NEW])
    assert reader.restored > 0
    assert max(fused.parts.gained) == 5


def test_a_block_that_is_forgotten_leaves_no_trace(model):
    """Read and rolled back: the logits after it are those of a text without it."""
    ids = make_ids(2)
    with torch.inference_mode():
        plain, other = (PositionReader(model, longest=16) for _ in range(2))
        for reader in (plain, other):
            reader.read(ids)
            reader.keep([LENGTH])
        other.read(make_ids(2, BLOCK))
        other.keep([2, 0])
        other.starts, other.end = other.starts - torch.tensor([2, 0]), LENGTH
        for step in range(3):
            block = ids[:, step : step + 2]
            left, right = plain.read(block).logits, other.read(block).logits
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
            plain.keep([1, 1])
            other.keep([1, 1])


def test_a_ring_is_bounded_and_full_layers_are_not(model):
    sizes = []
    for length in (200, 400):
        reader = PositionReader(model, longest=16)
        with torch.inference_mode():
            reader.read(make_ids(1, length), last=True)
        sizes.append(reader.measure_bytes())
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    assert (sizes[1] > sizes[0]) == ("full_attention" in kinds)


def test_drafting_stops_where_it_does_not_pay_and_is_looked_at_again(model):
    ids = make_ids(1)
    policy = Adaptive(Costs(step_ms=1.0, block_ms=2.5))
    reader = PositionReader(model, (0, 1), longest=16)
    fused = Fused(model, make_drafter(model), reader, policy).decode(ids, new_tokens=60)
    assert torch.equal(fused.tokens, read_greedy(model, ids, 60))
    assert policy.fallbacks == 1, "the looks after 16 steps and 32 more are vain"
    assert fused.parts.gained == [1, 1, 1], "each loses a step and a half of three allowed"


def test_drafting_comes_back_when_a_look_says_that_it_pays(model):
    """The drafter is wrong for the first tokens, then right; two rows, so that no text repeats."""
    ids = make_ids(2)
    expected = read_greedy(model, ids, 80)
    drafter = make_drafter(model)
    drafter.__class__ = Prophet
    text = torch.cat([ids, expected], dim=1)
    drafter.tell(
        model.get_output_embeddings(), text, lambda row, position: position < LENGTH + 15 + row
    )
    policy = Adaptive(Costs(step_ms=1.0, block_ms=2.0))
    reader = PositionReader(model, (0, 1), longest=16)
    fused = Fused(model, drafter, reader, policy).decode(ids, new_tokens=70)
    assert torch.equal(fused.tokens, expected[:, :70])
    assert policy.fallbacks == 1
    assert policy.drafts()
    assert fused.parts.steps < 40
    assert max(fused.parts.gained) == BLOCK


class Foretold(Repeats):
    """Finds the text to come, with every seventh token wrong."""

    text: ClassVar[list[int]] = []

    def find(self, count):
        start = len(self._tokens)
        found = enumerate(self.text[start : start + count], start)
        return [token + (place % 7 == 0) for place, token in found]


def test_drafts_of_the_text_itself_lose_nothing(model, monkeypatch):
    ids = make_ids(1)
    expected = read_greedy(model, ids, 90)
    monkeypatch.setattr(Foretold, "text", [*ids[0].tolist(), *expected[0].tolist()])
    monkeypatch.setattr("workloads.specdecode.decoding.Repeats", Foretold)
    policy = Adaptive(Costs(step_ms=1.0, block_ms=4.0))
    reader = PositionReader(model, (0, 1), longest=16)
    fused = Fused(model, make_drafter(model), reader, policy).decode(ids, new_tokens=90)
    assert torch.equal(fused.tokens, expected)
    assert fused.parts.blocks == len(fused.parts.gained) == 2, "then the drafter is given up"
    assert 90 / BLOCK < fused.parts.repeats < 90 / 2, "some drafts were right, some in part"


def test_a_text_that_goes_round_in_circles_drafts_for_itself():
    model = build_tiny("llama", seed=1, hidden=64, kv_heads=2, layers=3).eval()
    ids = make_ids(1)
    policy = Adaptive(Costs(step_ms=1.0, block_ms=4.0))
    reader = PositionReader(model, (0, 1), longest=16)
    fused = Fused(model, make_drafter(model), reader, policy).decode(ids, new_tokens=90)
    assert torch.equal(fused.tokens, read_greedy(model, ids, 90))
    assert fused.parts.repeats + fused.parts.steps < 45, "more than two tokens a forward"


def test_what_followed_the_last_tokens_before_is_found_again():
    text = Repeats([1, 2, 3, 4, 5, 9, 2, 3, 4])
    assert text.find(2) == [5, 9]
    assert text.find(50) == [5, 9, 2, 3, 4]
    text.extend([7])
    assert text.find(2) == [], "3 4 7 never stood before"
    text.extend([2, 3, 4])
    assert text.find(1) == [7], "the last time counts"
    assert Repeats([1, 2]).find(3) == []


def test_vain_blocks_between_good_ones_change_nothing():
    policy = Adaptive(Costs(1.0, 2.0))
    for gained in (1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 3.0, 1.0):
        assert policy.drafts()
        policy.learn(gained)
    assert policy.drafts()
    assert policy.fallbacks == 0


def test_what_was_won_is_not_saved_up():
    policy = Adaptive(Costs(1.0, 2.0))
    for _ in range(50):
        policy.learn(16.0)
    blocks = 0
    while policy.drafts():
        policy.learn(1.0)
        blocks += 1
    assert blocks == ALLOWANCE + 1


def test_after_a_fall_back_drafting_is_on_probation():
    policy = Adaptive(Costs(1.0, 2.0))
    while policy.drafts():
        policy.learn(1.0)
    wait(policy, PATIENCE)
    policy.learn(1.5)
    assert not policy.drafts(), "a vain look"
    wait(policy, 2 * PATIENCE)
    policy.learn(2.5)
    assert policy.drafts()
    policy.learn(1.0)
    assert not policy.drafts(), "one vain block is enough now"
    wait(policy, 4 * PATIENCE)
    policy.learn(9.0)
    while policy.drafts():
        policy.learn(1.0)
    wait(policy, PATIENCE)
    assert Always().drafts()


def wait(policy: Adaptive, steps: int) -> None:
    for _ in range(steps):
        assert not policy.probes()
        policy.step()
    assert policy.probes()


def test_a_look_counts_what_a_block_would_have_gained():
    look = Look([[1, 2, 3], [4, 5, 6]], enough=4)
    assert look.compare([1, 9]) is None
    assert look.compare([2, 5]) is None
    assert look.compare([7, 6]) == 1 + (2 + 0) / 2
    assert Look([[1, 2]], enough=4).compare([3]) == 1
    assert Look([[1, 2, 3]], enough=2).compare([1]) == 2, "enough to draft again"
