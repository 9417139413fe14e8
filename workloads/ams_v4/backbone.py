"""The frozen language model behind a memory: what it makes of facts told one after another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from workloads.ams_v4.bundles import Reading
from workloads.ams_v4.language import Language, Session, weigh_tokens
from workloads.shared.frozen import FrozenModel


@dataclass(frozen=True, slots=True)
class Texts:
    """Pooled views of some texts: hidden and content (B, d), surprise (B,)."""

    hidden: torch.Tensor
    content: torch.Tensor
    surprise: torch.Tensor


class Backbone(FrozenModel):
    """A causal language model that is never trained here.

    Args:
        model: of transformers' classes.
        language: what is said; it fixes the IDF weights.
    """

    def __init__(self, model: Any, language: Language) -> None:
        source = random.Random("ams_v4/1 idf")  # noqa: S311  (a seed, not a secret)
        super().__init__(model, weigh_tokens(language, source))
        self.language = language

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def read(self, rows: Sequence[Sequence[int]]) -> Texts:
        """What the model makes of texts."""
        states = self.compute_states(rows)
        ids, mask = states.ids, states.mask
        share = mask[..., None].float()
        hidden = (states.hidden * share).sum(1) / share.sum(1)
        weights = self.weights[ids] * mask
        units = functional.normalize(self.embed(ids).float(), dim=-1)
        content = (units * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp_min(1e-6)
        following = functional.cross_entropy(
            states.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        ).view(len(rows), -1)
        counted = mask[:, 1:].float()
        surprise = (following * counted).sum(1) / counted.sum(1).clamp_min(1)
        return Texts(hidden, content, surprise)

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
