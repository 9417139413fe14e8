"""The five losses (seed 001, v4.6), each a number that can be too large for its own reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from workloads.ams_v4.bundles import NAMES, Triple
from workloads.ams_v4.kakeya import MIN_ENTRIES, KakeyaRegistry

WEIGHTS = {
    "prefix_semantic_anchor": 0.5,
    "axis_alignment": 0.5,
    "independence": 0.2,
    "recon": 1.0,
    "write_policy": 0.1,
}
TRIPLET_MARGIN = 0.2
TOO_ALIKE = 0.7
AXIS_HINGE = 0.1
INDEPENDENCE_TARGET = 0.3
SPREAD_FLOOR = 0.1
LIKE, UNLIKE = 0.3, 0.05  # Jaccard index of a positive at least, of a negative at most


def pearson(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Correlation over the last dimension."""
    one, other = one - one.mean(-1, keepdim=True), other - other.mean(-1, keepdim=True)
    scale = one.norm(dim=-1) * other.norm(dim=-1)
    return (one * other).sum(-1) / scale.clamp_min(1e-6)


def jaccard(rows: Sequence[Sequence[int]], weights: torch.Tensor) -> torch.Tensor:
    """(B, B) indices over content tokens: those that weigh more than half of what a token can.

    Over raw tokens the words that every sentence has would make all texts alike.
    """
    there = torch.zeros(len(rows), len(weights))
    for place, row in enumerate(rows):
        there[place, list(row)] = 1.0
    there *= weights.cpu() > 0.5
    shared = there @ there.T
    sizes = there.sum(-1)
    return shared / (sizes[:, None] + sizes[None, :] - shared).clamp_min(1)


def align_time(base: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """1 - correlation of places (S, N, D) along the axis with the order of telling."""
    order = torch.arange(base.shape[1], dtype=base.dtype, device=base.device)
    return (1 - pearson(base @ axis, order.expand(base.shape[:2]))).mean()


def align_topics(base: torch.Tensor, likeness: torch.Tensor) -> torch.Tensor:
    """Texts (B, D) of shared content nearer than those of none, and none too alike."""
    cosines = base @ base.T
    away = ~torch.eye(len(base), dtype=torch.bool, device=base.device)
    near = cosines.masked_fill(~((likeness >= LIKE) & away), float("inf")).min(-1).values
    far = cosines.masked_fill(~((likeness <= UNLIKE) & away), -float("inf")).max(-1).values
    counted = near.isfinite() & far.isfinite()
    triplets = functional.relu(far[counted] - near[counted] + TRIPLET_MARGIN)
    alike = functional.relu(cosines[away & (likeness <= UNLIKE)] - TOO_ALIKE)
    return (triplets.mean() if counted.any() else base.sum() * 0) + (
        alike.mean() if alike.numel() else base.sum() * 0
    )


def align_context(direction: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """A mild pull of directions (..., D) to the axis's side."""
    return functional.relu(AXIS_HINGE - direction @ axis).mean()


def bind_apart(fibers: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Bundles' fibers (B, F) neither copies of one another nor strangers."""
    scalars = {name: fibers[name].mean(-1) for name in NAMES}
    pairs = [("time", "topic"), ("time", "context"), ("topic", "context")]
    lost = [
        (pearson(scalars[one], scalars[two]).abs() - INDEPENDENCE_TARGET).square()
        for one, two in pairs
    ]
    return torch.stack(lost).mean()


def reconstruct(registry: KakeyaRegistry, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean relative error of fields (B, d) through the sets.

    Raises:
        ValueError: too few texts to build sets from, which once made this loss zero for ever.
    """
    count = len(next(iter(fields.values())))
    if count < MIN_ENTRIES:
        raise ValueError(f"{count} texts in a batch; reconstruction needs at least {MIN_ENTRIES}")
    errors = registry.errors(fields)
    return torch.stack([error.mean() for error in errors.values()]).mean()


def keep_spread(fibers: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Against collapse: every dimension of the fibers (B, F) varies over the texts."""
    return torch.stack(
        [functional.relu(SPREAD_FLOOR - fibers[name].std(0)).mean() for name in NAMES]
    ).mean()


def align_axes(
    told: Mapping[str, Triple],
    texts: torch.Tensor,
    likeness: torch.Tensor,
    axes: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """The three alignments together; `texts` (B, D) are the topic bases of facts and prompts."""
    return (
        align_time(told["time"].base, axes["time"])
        + align_topics(texts, likeness)
        + align_context(told["context"].direction, axes["context"])
    )
