"""What the frozen language model makes of a text: the part of a memory that nothing trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from workloads.ams_audit.tokens import Vocabulary
from workloads.shared.frozen import FrozenModel


@dataclass(frozen=True, slots=True)
class Passage:
    """One text as the frozen model reads it.

    Attributes:
        starters: tokens that begin its content words, each once.
        semantic: (d,) mean last hidden state of its content tokens (of all, where it has none).
        centroid: (d,) mean embedding of its starters; zeros where it has none.
    """

    text: str
    starters: tuple[int, ...]
    semantic: torch.Tensor
    centroid: torch.Tensor


def read_passages(
    model: FrozenModel, vocabulary: Vocabulary, texts: Sequence[str]
) -> list[Passage]:
    """Every text by itself, in one batch."""
    states = model.compute_states([vocabulary.encode(text) for text in texts])
    content = model.weights[states.ids] * states.mask
    empty = content.sum(1, keepdim=True) == 0
    content = torch.where(empty, states.mask.float(), content)
    semantic = (states.hidden * content[..., None]).sum(1) / content.sum(1, keepdim=True)
    passages = []
    for text, pooled in zip(texts, semantic, strict=True):
        starters = vocabulary.list_starters(text)
        passages.append(Passage(text, tuple(starters), pooled, _average(model, starters)))
    return passages


def _average(model: FrozenModel, tokens: Sequence[int]) -> torch.Tensor:
    if not tokens:
        return torch.zeros(model.width, device=model.device)
    found: torch.Tensor = model.embed(torch.tensor(tokens, device=model.device)).float().mean(0)
    return found


def embed_starters(
    model: FrozenModel, passages: Sequence[Passage], count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (N, count, d) of unit variance, and (N, count) which of them are filling."""
    ids = torch.zeros(len(passages), count, dtype=torch.long)
    absent = torch.ones(len(passages), count, dtype=torch.bool)
    for row, passage in enumerate(passages):
        kept = passage.starters[-count:]  # rare words stand at the end
        ids[row, : len(kept)] = torch.tensor(kept, dtype=torch.long)
        absent[row, : len(kept)] = False
    vectors = model.embed(ids.to(model.device)).float()
    return functional.layer_norm(vectors, vectors.shape[-1:]), absent.to(model.device)
