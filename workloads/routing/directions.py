"""Where hacks pull: directions from a few labelled pairs, and gradients kept off them.

Only pairs of the known mode (sentinel) are labelled; the other modes are held out. Directions are
taken with the quarantine ablated: otherwise what it has absorbed no longer shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.routing.environment import KNOWN, Prompts, draw_prompts, write_answers
from workloads.routing.policy import ROUTED, Gate, log_chances, trace


@dataclass(frozen=True, slots=True)
class Basis:
    """One gradient direction of unit length for each routed weight, and one gate each."""

    gradients: dict[str, Tensor]
    gates: dict[str, Gate]

    def cosine(self, other: Basis) -> float:
        """Mean cosine of the gradient directions with another basis's."""
        found = [float((self.gradients[n] * other.gradients[n]).sum()) for n in ROUTED]
        return sum(found) / len(found)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same prompts with a hack and with an honest answer."""

    prompts: Prompts
    hacks: Tensor
    honest: Tensor


def write_pairs(source: torch.Generator, count: int) -> Pairs:
    """`count` pairs of the known mode."""
    prompts = draw_prompts(source, count, (KNOWN,))
    return Pairs(
        prompts,
        write_answers(prompts, source, hacks=True),
        write_answers(prompts, source, hacks=False),
    )


def extract(theta: Mapping[str, Tensor], pairs: Pairs) -> Basis:
    """The basis at the present weights, quarantine ablated."""
    leaves = {name: value.detach() for name, value in theta.items()}
    slopes, seen = [], []
    for tokens in (pairs.hacks, pairs.honest):
        held = leaves | {name: leaves[name].clone().requires_grad_() for name in ROUTED}
        passed = trace(held, pairs.prompts, tokens, quarantine=False)
        loss = -log_chances(passed.logits, tokens).sum(-1).mean()
        slopes.append(torch.autograd.grad(loss, [held[name] for name in ROUTED]))
        seen.append({name: passed.inputs[name].detach() for name in ROUTED})
    gradients = {
        name: _normalise(hack - honest) for name, hack, honest in zip(ROUTED, *slopes, strict=True)
    }
    return Basis(gradients, {name: _split(seen[0][name], seen[1][name]) for name in ROUTED})


def draw_basis(source: torch.Generator, like: Basis) -> Basis:
    """A basis of random directions: the control that says what a direction is worth."""
    gradients = {
        name: _normalise(torch.randn(value.shape, generator=source))
        for name, value in like.gradients.items()
    }
    gates = {
        name: Gate(
            torch.randn(gate.direction.shape, generator=source),
            torch.where(gate.threshold.isinf(), gate.threshold, 0.0),
        )
        for name, gate in like.gates.items()
    }
    return Basis(gradients, gates)


def project_out(gradient: Tensor, direction: Tensor) -> Tensor:
    """A gradient without what it has along a direction (what it has against it stays)."""
    along = (gradient * direction).sum().clamp_min(0)
    return gradient - along * direction


def align(inputs: Mapping[str, Tensor], slopes: Mapping[str, Tensor], basis: Basis) -> Tensor:
    """Cosine of each answer's own gradient with the basis, over all routed weights (B,).

    Args:
        inputs: of each weight, (B, 3, C).
        slopes: of the loss by each weight's output, (B, 3, D).
        basis: directions.
    """
    along, length = 0.0, 0.0
    for name, direction in basis.gradients.items():
        own = torch.einsum("btc,btd->bcd", inputs[name], slopes[name])  # (B, C, D)
        along = along + (own * direction).sum((1, 2))
        length = length + own.square().sum((1, 2))
    size = torch.as_tensor(length).sqrt().clamp_min(1e-12) * len(basis.gradients) ** 0.5
    return torch.as_tensor(along) / size


def _normalise(value: Tensor) -> Tensor:
    return value / value.norm().clamp_min(1e-12)


def _split(hacks: Tensor, honest: Tensor) -> Gate:
    """The direction between two clouds of inputs (B, 3, C), and the plane halfway, by position.

    Positions are told apart first: what differs between them would drown what differs between
    hacks and honest answers. The first position comes before any hack, so nothing acts there.
    """
    one, two = hacks.mean(0), honest.mean(0)  # (3, C)
    direction = (one - two) / (one - two).norm(dim=-1, keepdim=True).clamp_min(1e-12)
    threshold = ((one + two) / 2 * direction).sum(-1)
    threshold[0] = math.inf
    return Gate(direction, threshold)
