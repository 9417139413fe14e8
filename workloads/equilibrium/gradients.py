"""Gradients of the loss by the parameters: exact ones by unrolling, others from a contrast."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workloads.equilibrium.block import GROUPS, Block, Parameters, is_contrast_driven
from workloads.equilibrium.relaxation import STEP
from workloads.equilibrium.text import Batch

Gradients = dict[str, Tensor]


def track(theta: Parameters) -> dict[str, Tensor]:
    """The same parameters as leaves that gradients are taken by."""
    return {name: value.detach().requires_grad_() for name, value in theta.items()}


def unroll(
    block: Block,
    theta: Parameters,
    batch: Batch,
    rest: Tensor,
    *,
    horizon: int,
    last_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mean loss and state after `horizon` Euler steps from rest, with their graph."""
    x = block.embed(theta, batch.inputs)
    z = rest
    for _ in range(horizon):
        z = z + STEP * block.force(theta, z, x)
    count = batch.targets.shape[0] if last_only else batch.targets.numel()
    return block.loss(theta, z, batch.targets, last_only=last_only) / count, z


def differentiate_exactly(
    block: Block, theta: Parameters, batch: Batch, rest: Tensor, *, horizon: int
) -> Gradients:
    """Gradients of the mean loss by backpropagation through `horizon` steps at rest.

    That is the implicit gradient with its Neumann series cut after `horizon` terms.
    """
    leaves = track(theta)
    loss, _ = unroll(block, leaves, batch, rest, horizon=horizon)
    return _grad(loss, leaves)


def differentiate_by_contrast(
    block: Block, theta: Parameters, batch: Batch, rest: Tensor, contrast: Tensor
) -> Gradients:
    """Gradients of the mean loss from a contrast a (B, T, C) that stands for -J'^-1 dL/dz.

    dL/dtheta = a' df/dtheta at rest, plus the readout's own share, which is exact.
    """
    leaves = track(theta)
    x = block.embed(leaves, batch.inputs)
    pulled = (contrast * block.force(leaves, rest, x)).sum()
    direct = block.loss(leaves, rest, batch.targets)
    return _grad((pulled + direct) / batch.targets.numel(), leaves)


def _grad(loss: Tensor, leaves: Mapping[str, Tensor]) -> Gradients:
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if value is None else value.detach()
        for (name, leaf), value in zip(leaves.items(), found, strict=True)
    }


def flatten(gradients: Mapping[str, Tensor], group: str | None = None) -> Tensor:
    """One vector, double precision: of a group, or of all that the contrast drives.

    The readout is left out: its gradient is exact under every estimator and would only flatter.
    """
    names = GROUPS[group] if group else [name for name in gradients if is_contrast_driven(name)]
    return torch.cat([gradients[name].double().flatten() for name in names])


def cosine(one: Tensor, two: Tensor) -> float:
    """Cosine of two vectors; 0 where one has no length or is not finite."""
    scale = one.norm() * two.norm()
    value = float((one @ two) / scale) if float(scale) > 0 else 0.0
    return value if abs(value) <= 1.0 + 1e-9 else 0.0


def average(gradients: list[Gradients]) -> Gradients:
    """The mean of several gradients."""
    return {name: torch.stack([one[name] for one in gradients]).mean(0) for name in gradients[0]}
