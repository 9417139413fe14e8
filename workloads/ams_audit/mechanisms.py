"""The four mechanisms of v3.48: what each changes before or while a memory is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from bridge.errors import UsageError
from workloads.ams_audit.config import Mechanisms, Target
from workloads.ams_audit.memory import AuditMemory
from workloads.ams_audit.reading import Passage
from workloads.shared.frozen import FrozenModel

# Seed 000: M1 moves encoder_throughput 1.5 -> 3.0, semantic_alignment 3.0 -> 1.0,
# tail_semantic_anchor 0.5 -> 0.1, functional_suppression 0.4 -> 0.1.
WEIGHTS = {
    "recon": 1.0,
    "encoder_throughput": 1.5,
    "semantic_alignment": 3.0,
    "tail_semantic_anchor": 0.5,
    "functional_suppression": 0.4,
    "vocab_anchor": 0.2,
}
REWEIGHTED = {
    **WEIGHTS,
    "encoder_throughput": 3.0,
    "semantic_alignment": 1.0,
    "tail_semantic_anchor": 0.1,
    "functional_suppression": 0.1,
}
_JITTER = 0.005  # of the pooled queries, as in the source


def make_memory(
    mechanisms: Mechanisms, model: FrozenModel, corpus: Sequence[Passage], seed: int
) -> AuditMemory:
    """A memory before training, the same for the same seed; M1, M2 and M4 begin here.

    Args:
        mechanisms: which are on.
        model: the frozen model.
        corpus: texts that fix the centre of the hidden states and the pooled queries.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    memory: AuditMemory = AuditMemory(
        model.width, model.loudness, count_heads(model), encoder=not mechanisms.no_encoder
    ).to(model.device)
    memory.centre.copy_(torch.stack([passage.semantic for passage in corpus]).mean(0))
    if mechanisms.warm_start:
        warm_start(memory, model)
    if mechanisms.pooled_queries:
        pool_queries(memory, corpus, seed)
    return memory


def count_heads(model: FrozenModel) -> int:
    """The language model's own number of heads where its width divides by it, else 4."""
    heads = int(model.model.config.get_text_config(decoder=True).num_attention_heads)
    return heads if model.width % heads == 0 else 4


@torch.no_grad()  # type: ignore[untyped-decorator]
def warm_start(memory: AuditMemory, model: FrozenModel) -> None:
    """M2: q, k and v of the first cross-attention as in the language model's first layer."""
    memory.bridge.former.layers[0].multihead_attn.in_proj_weight.copy_(read_projections(model))


def read_projections(model: FrozenModel) -> torch.Tensor:
    """(3d, d) the first layer's q, k and v projections, one above the other.

    K and V of grouped heads are repeated for each query head of their group. (The source tiles
    them six times one after another, which pairs heads otherwise than the language model does.)

    Biases, where there are some, are left out.

    Raises:
        UsageError: the heads together are not as wide as the model.
    """
    config = model.model.config.get_text_config(decoder=True)
    heads = int(config.num_attention_heads)
    attention: Any = model.model.get_decoder().layers[0].self_attn
    parts = []
    for name, groups in (
        ("q_proj", heads), ("k_proj", config.num_key_value_heads),
        ("v_proj", config.num_key_value_heads),
    ):  # fmt: skip
        weight = getattr(attention, name).weight.float()
        blocks = weight.unflatten(0, (groups, -1))
        rows = blocks.repeat_interleave(heads // groups, 0).flatten(0, 1)
        if rows.shape != (model.width, model.width):
            raise UsageError(
                f"{name} of all heads is {tuple(rows.shape)}, the model is {model.width} wide",
                where="$.inputs.weights",
                remedy="take weights whose heads together are as wide as the model",
            )
        parts.append(rows)
    return torch.cat(parts)


@torch.no_grad()  # type: ignore[untyped-decorator]
def mark(memory: AuditMemory, model: FrozenModel, corpus: Sequence[Passage]) -> dict[str, float]:
    """How near a memory lies to what M2 and M4 would make of it, by cosine."""
    own = memory.bridge.former.layers[0].multihead_attn.in_proj_weight.flatten()
    pooled = functional.normalize(torch.stack([one.semantic for one in corpus]), dim=-1)
    queries = functional.normalize(memory.bridge.slots, dim=-1)
    projections = read_projections(model).flatten()
    return {
        "warm_cosine": float(functional.cosine_similarity(own, projections, dim=0)),
        "pooled_cosine": float((queries @ pooled.T).max(-1).values.mean()),
    }


@torch.no_grad()  # type: ignore[untyped-decorator]
def pool_queries(memory: AuditMemory, corpus: Sequence[Passage], seed: int) -> None:
    """M4: the bridge's queries as pooled hidden states of texts, as long as those they replace."""
    slots = memory.bridge.slots
    source = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(corpus), generator=source)[: len(slots)]
    pooled = torch.stack([corpus[int(index)].semantic for index in chosen])
    noise = _JITTER * torch.randn(pooled.shape, generator=source).to(pooled.device)
    length = slots.norm(dim=-1).mean()
    slots.copy_(functional.normalize(pooled, dim=-1) * length + noise)


def distil(
    memory: AuditMemory, target: Target, slots: torch.Tensor, wanted: Sequence[Passage]
) -> torch.Tensor:
    """M3: how far the bridge's mean output (B, d) is from what it is pulled to, angle and square.

    Args:
        memory: gives the loudness that the target is scaled to.
        target: pooled hidden state, or centroid of the content starters.
        slots: (B, BRIDGE_SLOTS, d).
        wanted: the text of each row.
    """
    goals = [one.semantic if target == "hidden_mean" else one.centroid for one in wanted]
    mean = slots.mean(1)
    loudness = memory.bridge.scale.detach() * mean.shape[-1] ** 0.5
    goal = functional.normalize(torch.stack(goals), dim=-1) * loudness
    angle = 1 - functional.cosine_similarity(mean, goal, dim=-1)
    square = (mean - goal).square().sum(-1) / loudness.square()
    return (angle + square).mean()
