"""The memory model of seed 000: what is told becomes a prefix before a frozen language model.

A query transformer looks at the content words of the texts that were found; two more slots carry
what the texts are about and their content words' direction (the tail slot). Beside the prefix,
a gate mixes the found words into the next-token distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from workloads.ams_audit.reading import Passage, embed_starters
from workloads.shared.frozen import FrozenModel
from workloads.shared.prefix_memory import PrefixMemory

BRIDGE_SLOTS = 6
SLOTS = BRIDGE_SLOTS + 2  # and the context slot and the tail slot
DESCRIPTOR = 32
WORDS = 12  # content words of a text that are looked at
FOUND = 3  # texts that are looked at
SHARPNESS = 10.0  # of the weights of the texts that were found
MOST = 0.6  # of the mixture


class AuditMemory(nn.Module):  # type: ignore[misc]
    """What is learned: encoder, bridge, two slots, gate.

    Args:
        width: of the language model.
        loudness: mean norm of its token embeddings.
        heads: of the query transformer.
        encoder: whether a context encoder is learned; without it (M1) a text is described by the
            frozen pool of its hidden states.
    """

    def __init__(self, width: int, loudness: float, heads: int, *, encoder: bool) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.encoder = (
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, DESCRIPTOR))
            if encoder
            else None
        )
        self.bridge = PrefixMemory(width, BRIDGE_SLOTS, loudness, heads=heads)
        self.context = nn.Linear(DESCRIPTOR if encoder else width, width)
        self.tail = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.gate_slope = nn.Parameter(torch.tensor(4.0))
        self.gate_offset = nn.Parameter(torch.tensor(0.5))

    def describe(self, semantic: torch.Tensor) -> torch.Tensor:
        """(..., k) what a text is about, from its pooled hidden state (..., d)."""
        plain = self.even(semantic)
        found: torch.Tensor = plain if self.encoder is None else self.encoder(plain)
        return found

    def even(self, semantic: torch.Tensor) -> torch.Tensor:
        """Pooled hidden states (..., d) without what all texts share, of unit variance."""
        return functional.layer_norm(semantic - self.centre, semantic.shape[-1:])

    def place(self, semantic: torch.Tensor) -> torch.Tensor:
        """The unit vector (..., k) that a text is found by."""
        return functional.normalize(self.describe(semantic), dim=-1)

    def weigh(self, nearness: torch.Tensor) -> torch.Tensor:
        """Weights (..., K) of the texts that were found, from their cosines; their sum is 1."""
        return (SHARPNESS * nearness).softmax(-1)

    def recall(
        self,
        model: FrozenModel,
        asked: torch.Tensor,
        found: Sequence[Sequence[Passage]],
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """The prefix (B, SLOTS, d); the last slot is the tail slot.

        Args:
            model: whose embeddings the texts' words have.
            asked: (B, d) pooled hidden states of the questions.
            found: K texts for each question.
            weights: (B, K) of them.
        """
        rows, count = weights.shape
        passages = [passage for row in found for passage in row]
        words, absent = embed_starters(model, passages, WORDS)
        semantic = torch.stack([passage.semantic for passage in passages])
        centroid = torch.stack([passage.centroid for passage in passages])
        looked = torch.cat([words, self.even(semantic)[:, None]], 1).unflatten(0, (rows, count))
        looked = (looked * weights[:, :, None, None] * count).flatten(1, 2)
        absent = functional.pad(absent, (0, 1), value=False).view(rows, -1)
        slots = self.bridge(self.even(asked), looked, absent)
        about = (self.describe(semantic).unflatten(0, (rows, count)) * weights[..., None]).sum(1)
        anchor = functional.layer_norm(centroid, centroid.shape[-1:]).unflatten(0, (rows, count))
        anchor = (anchor * weights[..., None]).sum(1)
        ends = torch.stack([self.make_context_slot(about), self._finish(self.tail(anchor))], 1)
        return torch.cat([slots, ends], 1)

    def make_context_slot(self, about: torch.Tensor) -> torch.Tensor:
        """(..., d) the slot that says what the texts are about, from their descriptions."""
        return self._finish(self.context(about))

    def _finish(self, slot: torch.Tensor) -> torch.Tensor:
        finished: torch.Tensor = self.norm(slot) * self.bridge.scale
        return finished

    def gate(self, nearness: torch.Tensor) -> torch.Tensor:
        """(B,) the found words' share of the distribution, by the best cosine (B,)."""
        return MOST * torch.sigmoid(self.gate_slope * (nearness - self.gate_offset))


def point(
    found: Sequence[Sequence[Passage]], weights: torch.Tensor, vocabulary: int
) -> torch.Tensor:
    """(B, V) the content words of the texts that were found, by their weights; rows sum to 1."""
    rows = []
    for passages, row in zip(found, weights, strict=True):
        share = torch.zeros(vocabulary, device=row.device)
        for passage, weight in zip(passages, row, strict=True):
            tokens = torch.tensor(passage.starters, dtype=torch.long, device=row.device)
            share = share.index_add(0, tokens, weight.expand(len(tokens)))
        rows.append(share / share.sum().clamp_min(1e-9))
    return torch.stack(rows)


def mix(
    logits: torch.Tensor, pointer: torch.Tensor, said: torch.Tensor, gate: torch.Tensor
) -> torch.Tensor:
    """Log probabilities (B, T, V) with the found words mixed in, without those said already.

    Args:
        logits: (B, T, V) of the language model.
        pointer: (B, V) the found words.
        said: (B, T, V) what stands before each position.
        gate: (B,) share of the found words; none is left where all of them were said.
    """
    left = pointer[:, None] * ~said
    mass = left.sum(-1, keepdim=True)
    share = gate[:, None, None] * (mass > 0)
    mixed = (1 - share) * logits.softmax(-1) + share * left / mass.clamp_min(1e-9)
    return mixed.clamp_min(1e-20).log()
