"""Training of the drafter on the verifier's own greedy text and hidden states.

Each step takes some anchors in each text. A block begins at its anchor's token, sees the features
of all positions before it, and is to say the tokens after it; those near the anchor weigh more,
since a draft is worth nothing behind its first mistake.

Source: DFlash, arXiv:2602.06036, section 3 (random anchors, weights that decay along the block).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from workloads.shared.drafter import BlockDrafter, embed_unscaled
from workloads.shared.fitting import FitStep, run_fit
from workloads.specdecode.decoding import decode_greedy
from workloads.specdecode.reading import PositionReader, catching

BETAS = (0.9, 0.98)


@dataclass(frozen=True, slots=True)
class Text:
    """Some texts that the verifier wrote.

    Attributes:
        ids: (B, T) prompts and what the verifier says after them.
        features: (B, T, n * hidden) outputs of the target layers.
        first: where the verifier's own tokens begin.
    """

    ids: torch.Tensor
    features: torch.Tensor
    first: int


@torch.inference_mode()  # type: ignore[untyped-decorator]
def write_text(
    model: Any, prompts: torch.Tensor, target_layers: Sequence[int], *, new_tokens: int, chunk: int
) -> Text:
    """What the verifier says after prompts (B, T), with the features of all of it."""
    decoded = decode_greedy(PositionReader(model, longest=chunk), prompts, new_tokens=new_tokens)
    ids = torch.cat([prompts, decoded.tokens.to(prompts.device)], dim=1)
    caught: dict[int, torch.Tensor] = {}
    with catching(model, target_layers, caught):
        model(input_ids=ids, use_cache=False, logits_to_keep=1)
    features = torch.cat([caught[index] for index in target_layers], dim=-1)
    return Text(ids, features, prompts.shape[1])


def fit(
    model: Any,
    drafter: BlockDrafter,
    texts: Sequence[Text],
    *,
    steps: int,
    rate: float,
    anchors: int,
    seed: int,
    snapshot: Path | None = None,
    on_step: Callable[[FitStep], None] | None = None,
) -> list[FitStep]:
    """Train `drafter` in place; every step is returned (see `run_fit`)."""

    def measure(source: random.Random) -> tuple[torch.Tensor, float]:
        return _measure_loss(model, drafter, source.choice(texts), source, anchors)

    drafter.requires_grad_(True)
    history = run_fit(
        {"drafter": drafter}, list(drafter.parameters()), measure, steps=steps, rate=rate,
        betas=BETAS, draws=f"drafter/1 {seed}", snapshot=snapshot, on_step=on_step,
    )  # fmt: skip
    drafter.requires_grad_(False)
    return history


def _measure_loss(
    model: Any, drafter: BlockDrafter, text: Text, source: random.Random, anchors: int
) -> tuple[torch.Tensor, float]:
    """Weighted cross-entropy over drafted tokens, and the share that is right."""
    rows, length = text.ids.shape
    size, device = drafter.config.block, text.ids.device
    # The anchor of a text's first block is the first token that the verifier says.
    drawn = [source.randrange(text.first, length - 1) for _ in range(anchors)]
    starts = torch.tensor(drawn, device=device)
    places = starts[:, None] + torch.arange(size, device=device)  # (A, N)
    asked = torch.full((rows, anchors, size), drafter.config.mask_token, device=device)
    asked[:, :, 0] = text.ids[:, starts]
    width = next(drafter.parameters()).dtype
    block = embed_unscaled(model.get_input_embeddings(), asked.flatten(1)).to(width)
    mask = see_blocks(starts, size, length)
    features = text.features.clone().to(width)  # leaves inference mode
    hidden = drafter(block, features, places.flatten()[None].expand(rows, -1), mask)
    hidden = hidden.unflatten(1, (anchors, size))[:, :, 1:]
    head = model.get_output_embeddings()
    logits = head(hidden.to(head.weight.dtype)).float()  # (B, A, N - 1, V)
    inside = places[:, 1:] < length
    truth = text.ids[:, places[:, 1:].clamp(max=length - 1)]
    weights = torch.exp(-torch.arange(size - 1, device=device) * (2.0 / size)) * inside
    losses = functional.cross_entropy(logits.flatten(0, 2), truth.flatten(), reduction="none")
    loss = (losses.view(truth.shape) * weights).sum() / (weights.sum() * rows)
    right = (logits.argmax(-1) == truth)[:, inside].float().mean()
    return loss, float(right)


def see_blocks(starts: torch.Tensor, size: int, length: int) -> torch.Tensor:
    """Mask (1, 1, A * N, T + A * N): the context before a block's anchor, and the block itself."""
    count = len(starts) * size
    context = (
        torch.arange(length, device=starts.device)[None] < starts.repeat_interleave(size)[:, None]
    )
    owner = torch.arange(count, device=starts.device) // size
    return torch.cat([context, owner[:, None] == owner[None]], dim=1)[None, None]
