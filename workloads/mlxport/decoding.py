"""Greedy decoding over any verifier in MLX: token by token, and in drafted blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx
import numpy as np

from workloads.mlxport.verifier import PortedVerifier

Tokens = Any  # an array of whole numbers; numpy's own types say no shape


class Drafting(Protocol):
    """Drafts a block behind the last token, given features of what came before."""

    def extend(self, features: mx.array) -> None:
        """Take the features (1, T, n * hidden) of the next committed tokens."""

    def draft(self, committed: Sequence[int]) -> list[int]:
        """Tokens that may come after the new ones that are `committed`; there is one at least."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One text decoded in blocks.

    Attributes:
        tokens: as many as were asked for.
        drafts: (tokens committed before it, the drafted tokens, how many were accepted) of each
            block.
        carried: tokens that were read a second time, after a rollback.
    """

    tokens: list[int]
    drafts: list[tuple[int, tuple[int, ...], int]]
    carried: int


def decode_greedy(verifier: PortedVerifier, ids: mx.array, *, new_tokens: int) -> Tokens:
    """Greedy tokens (B, N) after the prompts `ids` (B, T), which are of equal length."""
    return go_on(verifier, verifier.prefill(ids), new_tokens=new_tokens)


def go_on(verifier: PortedVerifier, logits: mx.array, *, new_tokens: int) -> Tokens:
    """Greedy tokens (B, N), the first of them from `logits` (B, V)."""
    return go_on_scored(verifier, logits, new_tokens=new_tokens)[0]


def go_on_scored(
    verifier: PortedVerifier, logits: mx.array, *, new_tokens: int
) -> tuple[Tokens, Any]:
    """The same, and the logits (B, N, V) before each token."""
    scores = [logits]
    tokens = [logits.argmax(-1, keepdims=True)]
    for _ in range(new_tokens - 1):
        scores.append(verifier.forward(tokens[-1], keep=1)[:, -1])
        tokens.append(scores[-1].argmax(-1, keepdims=True))
    return np.array(mx.concatenate(tokens, axis=1)), np.array(mx.stack(scores, axis=1))


def score(verifier: PortedVerifier, ids: mx.array, tokens: mx.array) -> Any:
    """Logits (B, N, V) before each of `tokens` (B, N), which follow `ids` one at a time."""
    logits = [verifier.prefill(ids)]
    for step in range(tokens.shape[1] - 1):
        logits.append(verifier.forward(tokens[:, step : step + 1], keep=1)[:, -1])
    return np.array(mx.stack(logits, axis=1))


def decode_fused(
    verifier: PortedVerifier, drafter: Drafting, ids: mx.array, *, new_tokens: int
) -> Fused:
    """Greedy tokens after one prompt `ids` (1, T): blocks are drafted, verified, rolled back.

    After a rejection the verifier returns to the state before the block, and what was accepted
    is read again in front of the next block (carried), which costs no forward of its own; only
    when more is carried than a block holds is it read by itself.
    """
    committed = [int(verifier.prefill(ids).argmax(-1).item())]
    _extend(drafter, verifier, 0, ids.shape[1])
    carry: list[int] = []
    drafts = []
    carried = 0
    while len(committed) < new_tokens:
        draft = drafter.draft(committed)
        if len(carry) > len(draft):
            verifier.forward(mx.array([carry]), keep=1)
            carry = []
        state = verifier.save()
        block = [*carry, committed[-1], *draft]
        logits = verifier.forward(mx.array([block]))[0, len(carry) :]
        greedy = [int(token) for token in np.array(logits.argmax(-1))]
        accepted = _count_equal(draft, greedy)
        drafts.append((len(committed), tuple(draft), accepted))
        _extend(drafter, verifier, len(carry), accepted + 1)
        kept = block[: len(carry) + accepted + 1]
        carry = []
        if accepted < len(draft):
            verifier.back(state)
            carry = kept
            carried += len(kept)
        committed += [*draft[:accepted], greedy[accepted]]
    return Fused(committed[:new_tokens], drafts, carried)


def _extend(drafter: Drafting, verifier: PortedVerifier, start: int, count: int) -> None:
    if verifier.features is not None:
        drafter.extend(verifier.features[:, start : start + count])


def _count_equal(draft: Sequence[int], greedy: Sequence[int]) -> int:
    for index, (left, right) in enumerate(zip(draft, greedy, strict=False)):
        if left != right:
            return index
    return len(draft)
