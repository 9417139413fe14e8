"""A language model that is never trained: what it makes of texts, and what it says to a prefix.

Rows are filled up on the right; a causal model cannot see that, so no mask is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from workloads.shared.synthetic import IGNORED, PAD


@dataclass(frozen=True, slots=True)
class States:
    """What the model computes on rows: ids and mask (B, T), hidden (B, T, d), logits (B, T, V)."""

    ids: torch.Tensor
    mask: torch.Tensor
    hidden: torch.Tensor
    logits: torch.Tensor


class FrozenModel:
    """A causal language model that is never trained here.

    Args:
        model: of transformers' classes.
        weights: (V,) how much each token counts in a text's content, 0 to 1.
    """

    def __init__(self, model: Any, weights: torch.Tensor) -> None:
        self.model = model.eval().requires_grad_(False)
        self.embed = model.get_input_embeddings()  # some classes scale in it
        self.width = int(self.embed.weight.shape[1])
        self.device = self.embed.weight.device
        self.weights = weights.to(self.device)

    @property
    def loudness(self) -> float:
        """Mean norm of a token's embedding as the model sees it."""
        ids = torch.arange(len(self.weights), device=self.device)
        return float(self.embed(ids).float().norm(dim=-1).mean())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def compute_states(self, rows: Sequence[Sequence[int]]) -> States:
        """Last hidden states and logits of texts."""
        ids, mask = pad_rows(rows)
        ids, mask = ids.to(self.device), mask.to(self.device)
        answer = self.model(input_ids=ids, output_hidden_states=True, use_cache=False)
        return States(ids, mask, answer.hidden_states[-1].float(), answer.logits.float())

    def predict(
        self, prefix: torch.Tensor | None, ids: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss (B,) over the labelled tokens in nats, and whether every one comes first (B,).

        Args:
            prefix: (B, P, d) before the tokens; None for none.
            ids: (B, T) tokens.
            labels: (B, T) what must follow, `IGNORED` elsewhere.
        """
        logits = self.continue_from(prefix, ids)
        asked = labels != IGNORED
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        ).view(labels.shape)
        right = ((logits.argmax(-1) == labels) | ~asked).all(-1)
        return losses.sum(-1) / asked.sum(-1), right

    def continue_from(self, prefix: torch.Tensor | None, ids: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) over tokens (B, T) that stand behind a prefix (B, P, d)."""
        embedded = self.embed(ids)
        if prefix is not None:
            embedded = torch.cat([prefix.to(embedded.dtype), embedded], 1)
        logits = self.model(inputs_embeds=embedded, use_cache=False).logits
        found: torch.Tensor = logits[:, -ids.shape[1] :].float()
        return found

    def answer(
        self,
        prefix: torch.Tensor | None,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `predict`, for prompts and the answers to them.

        All answer tokens come first exactly when greedy decoding gives the answer.
        """
        ids, labels = label_answers(prompts, answers)
        return self.predict(prefix, ids.to(self.device), labels.to(self.device))


def pad_rows(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) filled up on the right, and a mask (B, T) of what is real."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return ids, mask


def label_answers(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of prompt and answer (B, T), and labels (B, T): the answer's tokens where they follow.

    Rows are filled up on the right, which a causal model cannot see.
    """
    ids, _ = pad_rows([[*one, *two] for one, two in zip(prompts, answers, strict=True)])
    labels = torch.full_like(ids, IGNORED)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        start = len(prompt) - 1
        labels[row, start : start + len(answer)] = torch.tensor(list(answer))
    return ids, labels
