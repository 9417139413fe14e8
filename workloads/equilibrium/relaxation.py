"""Settling: the free phase, how far from rest it ends, and how lopsided its Jacobian is there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.equilibrium.block import Block, Parameters
from workloads.equilibrium.text import make_generator

STEP = 0.5
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Rest:
    """Where the free phase ended.

    Attributes:
        z: the state (B, T, C), without a graph.
        residual: |f(z)| / |z|.
        steps: Euler steps taken.
    """

    z: Tensor
    residual: float
    steps: int


@torch.no_grad()  # type: ignore[untyped-decorator]
def relax(block: Block, theta: Parameters, x: Tensor, *, max_steps: int) -> Rest:
    """Euler steps from x until |f| falls below 1e-5 |z|, or `max_steps` are done."""
    z, residual = x.clone(), float("inf")
    for done in range(max_steps):
        f = block.force(theta, z, x)
        residual = float(f.norm() / z.norm().clamp_min(1e-12))
        if residual < TOLERANCE or not residual < 1e6:
            return Rest(z, residual, done)
        z = z + STEP * f
    return Rest(z, residual, max_steps)


class Swirl:
    """The map u -> (J - J') u, with J the force's Jacobian at `at`; u is real and of its shape.

    J u is taken as the derivative of w -> J' w in direction u (two backward passes): forward mode
    costs six times as much at these sizes.
    """

    def __init__(self, block: Block, theta: Parameters, x: Tensor, at: Tensor) -> None:
        fixed = {name: value.detach() for name, value in theta.items()}
        with torch.enable_grad():
            self._at = at.detach().requires_grad_()
            self._force = block.force(fixed, self._at, x.detach())
            self._dual = torch.zeros_like(self._force).requires_grad_()
            (self._pulled,) = torch.autograd.grad(
                self._force, self._at, self._dual, create_graph=True
            )

    def pull(self, u: Tensor) -> Tensor:
        """J' u."""
        (pulled,) = torch.autograd.grad(self._force, self._at, u, retain_graph=True)
        return pulled

    def push(self, u: Tensor) -> Tensor:
        """J u."""
        (pushed,) = torch.autograd.grad(self._pulled, self._dual, u, retain_graph=True)
        return pushed

    def __call__(self, u: Tensor) -> Tensor:
        """(J - J') u."""
        return self.push(u) - self.pull(u)


def measure_asymmetry(
    block: Block, theta: Parameters, x: Tensor, z: Tensor, *, name: tuple[object, ...]
) -> tuple[float, float]:
    """|Jv - J'v| and |Jv - J'v| / |Jv| for one random direction v of unit length."""
    v = torch.randn(z.shape, generator=make_generator("direction", *name)).to(z.device)
    v = v / v.norm()
    swirl = Swirl(block, theta, x, z)
    turned = swirl(v).norm()
    return float(turned), float(turned / swirl.push(v).norm())
