"""f_theta in closed form: reduced-rank ridge regression on what verifier and drafter hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workloads.shared.restored.projection import FThetaConfig, FThetaProjection
from workloads.shared.restored.sources import Drafter
from workloads.shared.restored.targets import Targets, Teacher

RIDGE = 1e-4


@torch.no_grad()  # type: ignore[untyped-decorator]
def fit_ridge(
    teacher: Teacher, drafter: Drafter, batches: Sequence[Targets], *, rank: int
) -> FThetaProjection:
    """The closed form: reduced-rank ridge regression of raw K and of raw V, a warm start.

    Every layer counts alike: its values are divided by their standard deviation first.
    """
    widths = {layer.index: layer.width for layer in teacher.owners}
    projection = FThetaProjection(FThetaConfig(drafter.features, rank, widths))
    drafter.forget()
    reads = [drafter.read(batch.ids, places(batch.ids)) for batch in batches]
    for part, encoder, decoders in (
        (0, projection.encoder_k, projection.decoders_k),
        (1, projection.encoder_v, projection.decoders_v),
    ):
        inputs = torch.cat([read[part].flatten(0, 1) for read in reads]).double()
        truths = {
            index: torch.cat([batch.raw[index][part].flatten(0, 1) for batch in batches]).double()
            for index in widths
        }
        scales = {index: truth.std().clamp(min=1e-8) for index, truth in truths.items()}
        joined = torch.cat([truths[index] / scales[index] for index in widths], dim=-1)
        left, right = _reduce_rank(inputs, joined, rank)
        encoder.weight.copy_(left.T)
        for (index, width), block in zip(
            widths.items(), right.split(list(widths.values()), dim=1), strict=True
        ):
            assert block.shape[1] == width
            decoders[str(index)].weight.copy_((block * scales[index]).T)
    return projection


def _reduce_rank(
    inputs: torch.Tensor, outputs: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left (F, r) and right (r, W) with inputs @ left @ right nearest to outputs."""
    gram = inputs.T @ inputs
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram, inputs.T @ outputs)
    # The directions of the fitted values, not of the weights, are what the rank must keep.
    covariance = weights.T @ (inputs.T @ inputs) @ weights
    _, vectors = torch.linalg.eigh(covariance)
    kept = vectors[:, -rank:]
    left, right = weights @ kept, kept.T
    spare = rank - kept.shape[1]
    if spare > 0:
        left = torch.cat([left, left.new_zeros(len(left), spare)], dim=1)
        right = torch.cat([right, right.new_zeros(spare, right.shape[1])], dim=0)
    return left, right


def places(ids: torch.Tensor) -> torch.Tensor:
    """Positions (T,) of whole texts (B, T)."""
    return torch.arange(ids.shape[1], device=ids.device)
