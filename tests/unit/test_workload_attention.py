"""Sink+window attention: what is evicted, what stays, and what the model may still know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bridge.errors import UsageError
from tests import tiny_language
from workloads.shared.attention import (
    FullAttention,
    SinkWindowAttention,
    SinkWindowLayer,
    count_kept,
    measure_kv_bytes,
    see_sink_window,
    to_additive,
)
from workloads.shared.decoding import decode_greedy

FAMILIES = [
    tiny_language.make_llama,
    tiny_language.make_mistral,
    tiny_language.make_qwen3,
    tiny_language.make_gemma3,
    tiny_language.make_gemma4,
    tiny_language.make_gpt2,
]
LENGTH = 53
NEW = 9


def draw_ids(batch: int = 2, length: int = LENGTH) -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randint(1, tiny_language.SIZES["vocab_size"], (batch, length), generator=source)


def forward_masked(model: Any, ids: torch.Tensor, *, sink: int, window: int) -> torch.Tensor:
    """Logits (B, T, V) of one pass over everything, the mask written out in each layer."""
    positions = torch.arange(ids.shape[1])
    seen = see_sink_window(positions, positions, sink=sink, window=window)
    config = model.config
    native = getattr(config, "sliding_window", None)
    near = seen if native is None else seen & (positions > positions[:, None] - native)
    mask: Any = to_additive(near, model.dtype)
    if getattr(config, "layer_types", None) is not None:
        mask = {"full_attention": to_additive(seen, model.dtype), "sliding_attention": mask}
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("sink", "window", "chunk"), [(4, 8, 7), (0, 5, 16), (3, 1, 1), (2, 13, 1000)]
)
def test_eviction_gives_what_a_masked_pass_over_everything_gives(
    make: Callable[[], Any], sink: int, window: int, chunk: int
) -> None:
    model = make()
    ids = draw_ids()
    attention = SinkWindowAttention(model, sink=sink, window=window, chunk=chunk)
    decoded = decode_greedy(model, ids, attention, max_new_tokens=NEW)
    everything = torch.cat([ids, decoded.tokens], dim=1)
    logits = forward_masked(model, everything, sink=sink, window=window)
    expected = logits[:, LENGTH - 1 : -1].argmax(dim=-1)
    assert decoded.tokens.tolist() == expected.tolist()
    assert decoded.evicted == LENGTH - sink - window


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_logits_agree_with_the_masked_pass(make: Callable[[], Any]) -> None:
    model = make()
    ids = draw_ids()
    expected = forward_masked(model, ids, sink=4, window=8)
    attention = SinkWindowAttention(model, sink=4, window=8, chunk=10)
    found = []
    with torch.inference_mode():
        for start in range(0, LENGTH, 10):
            positions = torch.arange(start, min(start + 10, LENGTH))
            result = model(
                input_ids=ids[:, positions],
                position_ids=positions[None].expand(2, -1),
                attention_mask=attention.mask(positions),
                past_key_values=attention.cache,
                use_cache=True,
            )
            found.append(result.logits)
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-4, rtol=1e-4)


def test_kept_entries_have_their_original_positions_and_are_all_that_is_allocated() -> None:
    model = tiny_language.make_llama()
    attention = SinkWindowAttention(model, sink=4, window=8, chunk=10)
    decoded = decode_greedy(model, draw_ids(), attention, max_new_tokens=1)
    kept = [*range(4), *range(LENGTH - 8, LENGTH)]
    for layer in attention.cache.layers:
        assert isinstance(layer, SinkWindowLayer)
        assert layer.positions.tolist() == kept
    assert decoded.kept == count_kept(attention) == len(kept)
    # K and V, layers, batch, K/V heads, positions, head width, bytes of a float32
    assert decoded.kv_bytes == measure_kv_bytes(attention) == 2 * 2 * 2 * 2 * len(kept) * 8 * 4


def test_full_attention_keeps_everything() -> None:
    model = tiny_language.make_llama()
    decoded = decode_greedy(model, draw_ids(), FullAttention(model), max_new_tokens=1)
    assert (decoded.kept, decoded.evicted) == (LENGTH, 0)
    assert decoded.kv_bytes == 2 * 2 * 2 * 2 * LENGTH * 8 * 4


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_a_window_over_everything_is_full_attention(make: Callable[[], Any]) -> None:
    model = make()
    full = decode_greedy(model, draw_ids(), FullAttention(model), max_new_tokens=NEW)
    wide = SinkWindowAttention(model, sink=0, window=LENGTH + NEW, chunk=11)
    assert full.tokens.equal(decode_greedy(model, draw_ids(), wide, max_new_tokens=NEW).tokens)


def test_nothing_leaks_from_an_evicted_position_beyond_the_reach_of_the_layers() -> None:
    """Two layers of window 4 reach 6 positions back: an earlier token changes nothing at all.

    Had the prompt been read with full attention and evicted afterwards, it would.
    """
    model = tiny_language.make_llama()
    ids, other = draw_ids(), draw_ids()
    other[:, 20:30] = 5

    def decode(prompt: torch.Tensor) -> torch.Tensor:
        attention = SinkWindowAttention(model, sink=2, window=4, chunk=16)
        with torch.inference_mode():
            decode_greedy(model, prompt, attention, max_new_tokens=1)
            positions = torch.tensor([LENGTH])
            return model(
                input_ids=ids[:, :1],
                position_ids=positions[None].expand(2, -1),
                attention_mask=attention.mask(positions),
                past_key_values=attention.cache,
            ).logits

    def read_fully(prompt: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(input_ids=prompt).logits[:, -1]

    assert decode(ids).equal(decode(other))
    assert not read_fully(ids).equal(read_fully(other))


def test_it_is_not_a_shortened_prompt() -> None:
    model = tiny_language.make_llama()
    ids = draw_ids()
    attention = SinkWindowAttention(model, sink=4, window=8, chunk=16)
    evicted = decode_greedy(model, ids, attention, max_new_tokens=NEW)
    short = torch.cat([ids[:, :4], ids[:, -8:]], dim=1)
    shortened = decode_greedy(model, short, FullAttention(model), max_new_tokens=NEW)
    assert not evicted.tokens.equal(shortened.tokens)


def test_decoding_is_what_generate_does() -> None:
    model = tiny_language.make_llama()
    ids = draw_ids()
    expected = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW,
        eos_token_id=None,
    )
    decoded = decode_greedy(model, ids, FullAttention(model), max_new_tokens=NEW)
    assert decoded.tokens.equal(expected[:, LENGTH:])


def test_layers_without_keys_and_values_are_refused() -> None:
    with pytest.raises(UsageError, match="sink\\+window is not defined"):
        SinkWindowAttention(tiny_language.make_lfm2(), sink=4, window=8, chunk=16)
