"""The frozen language model behind a memory: what it makes of texts, and what it says to a prefix.

Rows are filled up on the right; a causal model cannot see that, so no mask is needed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from workloads.ams_v4.bundles import Reading
from workloads.ams_v4.language import (
    Language,
    Session,
    label_answers,
    pad_rows,
    weigh_tokens,
)
from workloads.shared.synthetic import IGNORED


@dataclass(frozen=True, slots=True)
class Texts:
    """Pooled views of some texts: hidden and content (B, d), surprise (B,)."""

    hidden: torch.Tensor
    content: torch.Tensor
    surprise: torch.Tensor


class Backbone:
    """A causal language model that is never trained here.

    Args:
        model: of transformers' classes.
        language: what is said; it fixes the IDF weights.
    """

    def __init__(self, model: Any, language: Language) -> None:
        self.model = model.eval().requires_grad_(False)
        self.language = language
        self.embed = model.get_input_embeddings()  # some classes scale in it
        self.width = int(self.embed.weight.shape[1])
        self.device = self.embed.weight.device
        source = random.Random("ams_v4/1 idf")  # noqa: S311  (a seed, not a secret)
        self.weights = weigh_tokens(language, source).to(self.device)

    @property
    def loudness(self) -> float:
        """Mean norm of a token's embedding as the model sees it."""
        ids = torch.arange(self.language.vocabulary, device=self.device)
        return float(self.embed(ids).float().norm(dim=-1).mean())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def read(self, rows: Sequence[Sequence[int]]) -> Texts:
        """What the model makes of texts."""
        ids, mask = pad_rows(rows)
        ids, mask = ids.to(self.device), mask.to(self.device)
        answer = self.model(input_ids=ids, output_hidden_states=True, use_cache=False)
        share = mask[..., None].float()
        hidden = (answer.hidden_states[-1].float() * share).sum(1) / share.sum(1)
        weights = self.weights[ids] * mask
        units = functional.normalize(self.embed(ids).float(), dim=-1)
        content = (units * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp_min(1e-6)
        following = functional.cross_entropy(
            answer.logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        ).view(len(rows), -1)
        counted = mask[:, 1:].float()
        surprise = (following * counted).sum(1) / counted.sum(1).clamp_min(1)
        return Texts(hidden, content, surprise)

    def predict(
        self, prefix: torch.Tensor | None, ids: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss (B,) over the labelled tokens in nats, and whether every one comes first (B,).

        Args:
            prefix: (B, P, d) before the tokens; None for none.
            ids: (B, T) tokens.
            labels: (B, T) what must follow, `IGNORED` elsewhere.
        """
        embedded = self.embed(ids)
        if prefix is not None:
            embedded = torch.cat([prefix.to(embedded.dtype), embedded], 1)
        logits = self.model(inputs_embeds=embedded, use_cache=False).logits[:, -ids.shape[1] :]
        asked = labels != IGNORED
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        ).view(labels.shape)
        right = ((logits.argmax(-1) == labels) | ~asked).all(-1)
        return losses.sum(-1) / asked.sum(-1), right

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

    def read_sessions(self, sessions: Sequence[Session]) -> Reading:
        """The texts of sessions (S, N), told one after another; all of one length."""
        rows = [fact.ids for session in sessions for fact in session.facts]
        texts = self.read(rows)
        sizes = (len(sessions), len(sessions[0].facts))
        hidden = texts.hidden.view(*sizes, -1)
        place = torch.arange(sizes[1], device=self.device)
        before = (place[:, None] > place[None, :]).expand(*sizes, -1)
        return Reading(
            hidden=hidden,
            content=texts.content.view(*sizes, -1),
            surprise=texts.surprise.view(sizes),
            when=_date(place.float() / sizes[1]).expand(*sizes, 2),
            summary=_average(before, hidden),
            before=before,
            turns=hidden,
        )

    def read_prompts(self, prompts: Sequence[Sequence[Sequence[int]]], told: Reading) -> Reading:
        """Prompts (S, Q) that come after everything that was told.

        Their own content tokens are read like those of a fact: a question that is placed by its
        hidden state alone cannot be near what it asks for.
        """
        texts = self.read([row for session in prompts for row in session])
        sizes = (len(prompts), len(prompts[0]))
        hidden = texts.hidden.view(*sizes, -1)
        before = torch.ones(*sizes, told.turns.shape[1], dtype=torch.bool, device=self.device)
        return Reading(
            hidden=hidden,
            content=texts.content.view(*sizes, -1),
            surprise=texts.surprise.view(sizes),
            when=_date(torch.ones(sizes[1], device=self.device)).expand(*sizes, 2),
            summary=_average(before, told.turns),
            before=before,
            turns=told.turns,
        )


def _date(position: torch.Tensor) -> torch.Tensor:
    return torch.stack([position, 1 - position], -1)


def _average(before: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    share = before.float()
    return share @ turns / share.sum(-1, keepdim=True).clamp_min(1)
