"""Attention over memories in each bundle by itself, joined only as slots of one prefix.

Seed 001, v4.4, with the learnable scale of v4.6: a prefix twenty times louder than the tokens
drowned them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from workloads.ams_v4.bundles import FIBERS, NAMES

HEADS = 4
SHARPNESS = 4.0
SLOTS = {"time": 1, "topic": 4, "context": 1}
PREFIX = sum(SLOTS.values())


class BundleAttention(nn.Module):  # type: ignore[misc]
    """Queries of one bundle over the carried fibers of its entries."""

    def __init__(self, fiber: int, width: int, slots: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, fiber)
        self.place = nn.Linear(fiber, fiber)
        self.key = nn.Linear(fiber, fiber)
        self.value = nn.Linear(fiber, fiber)
        self.lift = nn.Linear(fiber, slots * width)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self._slots = slots

    def forward(
        self,
        hidden: torch.Tensor,
        fiber: torch.Tensor,
        entries: torch.Tensor,
        near: torch.Tensor,
        allowed: torch.Tensor | None,
    ) -> torch.Tensor:
        """Slots (S, Q, slots, d).

        Args:
            hidden: (S, Q, d) of the questions, already normalised.
            fiber: (S, Q, F) of the questions.
            entries: (S, Q, N, F) carried to each question.
            near: (S, Q, N) closeness of the entries on the base. Without it, choosing and reading
                would have to be learned at once, and neither was.
            allowed: (S, Q, N) entries that may be looked at; None for all.
        """
        query = _split(self.query(hidden) + self.place(fiber))[..., None, :]
        keys = _split(self.key(entries)).transpose(-3, -2)
        values = _split(self.value(entries)).transpose(-3, -2)
        bias = self.sharpness * near
        if allowed is not None:
            bias = bias.masked_fill(~allowed, -torch.inf)
        bias = bias[:, :, None, None, :]
        found = functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
        slots: torch.Tensor = self.lift(found.squeeze(-2).flatten(-2))
        return slots.unflatten(-1, (self._slots, -1))


def _split(rows: torch.Tensor) -> torch.Tensor:
    return rows.unflatten(-1, (HEADS, -1))


class CrossBundleAttention(nn.Module):  # type: ignore[misc]
    """Three attentions, concatenated to a prefix of `PREFIX` slots.

    Args:
        width: of the language model.
        loudness: mean norm of its token embeddings, which a slot starts with.
    """

    def __init__(self, width: int, loudness: float) -> None:
        super().__init__()
        self.question_norm = nn.LayerNorm(width)
        self.parts = nn.ModuleDict(
            {name: BundleAttention(FIBERS[name], width, SLOTS[name]) for name in NAMES}
        )
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.tensor(loudness / width**0.5))

    def forward(
        self,
        hidden: torch.Tensor,
        fibers: Mapping[str, torch.Tensor],
        entries: Mapping[str, torch.Tensor],
        near: Mapping[str, torch.Tensor],
        allowed: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The prefix (S, Q, PREFIX, d); arguments as in `BundleAttention`, by bundle.

        Raises:
            ValueError: there is no entry.
        """
        if next(iter(entries.values())).shape[2] == 0:
            raise ValueError("there is no entry to attend to")
        asked = self.question_norm(hidden)
        slots = [
            self.parts[name](asked, fibers[name], entries[name], near[name], allowed)
            for name in NAMES
        ]
        prefix: torch.Tensor = self.norm(torch.cat(slots, dim=2)) * self.scale
        return prefix
