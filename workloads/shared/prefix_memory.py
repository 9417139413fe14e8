"""A flat prefix memory: one store, learned queries, a prefix for a frozen language model (v3).

Seed 000's model without its decode-time shaping: what was told is pooled, a query transformer
looks at it, and its slots stand before the prompt.
"""

from __future__ import annotations

import torch
from torch import nn

HEADS = 4


class PrefixMemory(nn.Module):  # type: ignore[misc]
    """Learned queries over pooled texts.

    Args:
        width: of the language model's hidden states.
        slots: of the prefix.
        loudness: mean norm of the model's token embeddings, which a slot starts with.
        layers: of the query transformer.
        heads: of its attention.
    """

    def __init__(
        self, width: int, slots: int, loudness: float, layers: int = 2, heads: int = HEADS
    ) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(slots, width) * 0.1)
        self.asked = nn.Linear(width, width)
        self.entry = nn.Linear(width, width)
        layer = nn.TransformerDecoderLayer(
            width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.former = nn.TransformerDecoder(layer, layers)
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.tensor(loudness / width**0.5))

    def forward(
        self, asked: torch.Tensor, entries: torch.Tensor, absent: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The prefix (B, slots, d) for questions (B, d) over entries (B, N, d).

        Args:
            asked: pooled questions.
            entries: what is looked at.
            absent: (B, N) rows of `entries` that are filling alone; None for none.
        """
        queries = self.slots + self.asked(asked)[:, None]
        looked = self.former(queries, self.entry(entries), memory_key_padding_mask=absent)
        found: torch.Tensor = self.norm(looked) * self.scale
        return found
