"""A small policy with a quarantine: main weights, and low-rank adapters that can be taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workloads.routing.environment import LENGTH, MODES, TOKENS, Prompts

Parameters = dict[str, Tensor]

# Weights that reinforcement trains; the embeddings stay as supervised training left them.
ROUTED = ("layer1", "layer2", "out")
START = TOKENS


@dataclass(frozen=True, slots=True)
class Trace:
    """One pass over all positions.

    Attributes:
        logits: (B, 3, tokens).
        inputs: of each routed weight, (B, 3, C).
        outputs: of each routed weight before its nonlinearity, in the graph.
        masks: of each adapter, (B, 3): 1 where it acts.
    """

    logits: Tensor
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    masks: dict[str, Tensor]


def make_parameters(source: torch.Generator, width: int, rank: int) -> Parameters:
    """Random main weights; adapters that add nothing yet (`q_up` is 0)."""

    def draw(*shape: int, scale: float) -> Tensor:
        return torch.randn(*shape, generator=source) * scale

    found = {
        "first": draw(10, width, scale=0.5),
        "second": draw(10, width, scale=0.5),
        "mode": draw(len(MODES), width, scale=0.5),
        "position": draw(LENGTH, width, scale=0.5),
        "last": draw(TOKENS + 1, width, scale=0.5),
        "before": draw(TOKENS + 1, width, scale=0.5),
        "layer1": draw(width, width, scale=width**-0.5),
        "layer2": draw(width, width, scale=width**-0.5),
        "out": draw(width, TOKENS, scale=width**-0.5),
    }
    for name in ROUTED:
        found[f"{name}.q_down"] = draw(width, rank, scale=width**-0.5)
        found[f"{name}.q_up"] = torch.zeros(rank, found[name].shape[1])
    return found


@dataclass(frozen=True, slots=True)
class Gate:
    """Where an adapter acts: on inputs that reach beyond a plane, one for each position.

    Attributes:
        direction: (3, C); threshold: (3,), infinite where it never acts.
    """

    direction: Tensor
    threshold: Tensor


def trace(
    theta: Mapping[str, Tensor],
    prompts: Prompts,
    tokens: Tensor,
    *,
    quarantine: bool,
    gates: Mapping[str, Gate] | None = None,
) -> Trace:
    """Score every position of answers (B, 3); without `quarantine` the adapters are ablated."""
    padded = functional.pad(tokens[:, :-1], (2, 0), value=START)  # (B, 4)
    h = (
        (theta["first"][prompts.first] + theta["second"][prompts.second])[:, None]
        + theta["mode"][prompts.mode][:, None]
        + theta["position"]
        + theta["last"][padded[:, 1:]]
        + theta["before"][padded[:, :-1]]
    )  # (B, 3, C)
    inputs, outputs, masks = {}, {}, {}
    for name in ROUTED:
        inputs[name] = h
        moved = h @ theta[name]
        masks[name] = _mask(h, gates[name] if gates else None)
        if quarantine:
            adapted = (h @ theta[f"{name}.q_down"]) @ theta[f"{name}.q_up"]
            moved = moved + adapted * masks[name][..., None]
        outputs[name] = moved
        h = moved if name == "out" else h + torch.tanh(moved)
    return Trace(h, inputs, outputs, masks)


def _mask(h: Tensor, gate: Gate | None) -> Tensor:
    if gate is None:
        return torch.ones(h.shape[:-1])
    return ((h.detach() * gate.direction).sum(-1) > gate.threshold).float()


@torch.no_grad()  # type: ignore[untyped-decorator]
def sample(
    theta: Mapping[str, Tensor],
    prompts: Prompts,
    chances: Tensor,
    *,
    quarantine: bool,
    gates: Mapping[str, Gate] | None = None,
) -> Tensor:
    """Answers (B, 3), drawn by the chances (B, 3) in 0..1: equal chances pair two policies."""
    tokens = torch.full((len(prompts), LENGTH), START)
    for place in range(LENGTH):
        logits = trace(theta, prompts, tokens, quarantine=quarantine, gates=gates).logits
        reached = logits[:, place].softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(reached, chances[:, place : place + 1].contiguous())
        tokens[:, place] = drawn.squeeze(-1).clamp_max(TOKENS - 1)
    return tokens


def log_chances(logits: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of each token (B, 3)."""
    return logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
