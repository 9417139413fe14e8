"""Prefill and greedy decoding under an attention policy, timed and counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from workloads.shared.attention import Attention, count_kept, measure_kv_bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one batch came to.

    Attributes:
        tokens: (B, N) new tokens.
        prefill_s: wall seconds of the prompt; `decode_s` of the new tokens.
        process_s: CPU seconds of this process over both; steadier than wall time on a busy machine.
        kept: positions with K/V entries after the prompt; `evicted` those without.
        kv_bytes: bytes allocated for K/V entries after the prompt, for the whole batch.
    """

    tokens: torch.Tensor
    prefill_s: float
    decode_s: float
    process_s: float
    kept: int
    evicted: int
    kv_bytes: int


def decode_greedy(
    model: Any, ids: torch.Tensor, attention: Attention, *, max_new_tokens: int
) -> Decoded:
    """Decode `max_new_tokens` after the prompts `ids` (B, T), which are of equal length.

    Always that many, whatever is decoded, so that arms cost the same and batches stay whole.
    """
    with torch.inference_mode():
        started_s, process_s = time.perf_counter(), time.process_time()
        token = _prefill(model, ids, attention)
        token.tolist()  # waits for the device, so that the clock is right
        prefilled_s = time.perf_counter()
        kept, kv_bytes = count_kept(attention), measure_kv_bytes(attention)
        tokens = [token]
        for step in range(max_new_tokens - 1):
            logits = _forward(model, token, ids.shape[1] + step, attention)
            token = logits.argmax(dim=-1, keepdim=True)
            tokens.append(token)
        new = torch.cat(tokens, dim=1).cpu()
        ended_s, process_s = time.perf_counter(), time.process_time() - process_s
    return Decoded(
        tokens=new,
        prefill_s=prefilled_s - started_s,
        decode_s=ended_s - prefilled_s,
        process_s=process_s,
        kept=kept,
        evicted=ids.shape[1] - kept,
        kv_bytes=kv_bytes,
    )


def _prefill(model: Any, ids: torch.Tensor, attention: Attention) -> torch.Tensor:
    """The first new token (B, 1), after the prompts went by in chunks."""
    length = ids.shape[1]
    chunk = attention.chunk or length
    for start in range(0, length, chunk):
        logits = _forward(model, ids[:, start : start + chunk], start, attention)
    return logits.argmax(dim=-1, keepdim=True)


def _forward(model: Any, ids: torch.Tensor, start: int, attention: Attention) -> torch.Tensor:
    """Logits (B, V) after the last of `ids` (B, Q), which stand at `start` and on."""
    positions = torch.arange(start, start + ids.shape[1], device=ids.device)
    result = model(
        input_ids=ids,
        position_ids=positions[None].expand(ids.shape[0], -1),
        attention_mask=attention.mask(positions),
        past_key_values=attention.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return result.logits[:, -1].float()
