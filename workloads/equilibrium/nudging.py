"""Equilibrium propagation: nudged phases, and the contrast that they leave.

With loss L and points b_k = r exp(2 pi i k / N), each copy of the state settles under

    f(z) - (J - J')(z - reference) - b_k dL/dz = 0

and a = -(1 / N r) sum_k z_k exp(-2 pi i k / N) approaches -J'^-1 dL/dz: the adjoint that exact
gradients need. The methods differ in what they take off:

- `plain`: nothing; right only where the Jacobian J is symmetric;
- `frozen`: (J - J') at the resting state, which is also the reference;
- `tracking`: (J - J') at the copies' common mode, which is also the reference, at every step.

Source: Scellier and Bengio (arXiv:1602.05179), Laborieux and Zenke, holomorphic EP
(arXiv:2209.00530), and the document's asymmetric correction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workloads.equilibrium.block import Block, Parameters
from workloads.equilibrium.relaxation import STEP, Swirl
from workloads.equilibrium.text import Batch

Method = Literal["plain", "frozen", "tracking"]

LIMIT = 1e6
MIN_ADAPTIVE = 5


@dataclass(frozen=True, slots=True)
class Nudge:
    """How the state is nudged.

    Attributes:
        method: what is taken off the force.
        points: N, how many copies stand on the circle.
        radius: r.
        clamp: longest push of the loss on one position, in medians over the positions; None
            for no limit.
    """

    method: Method
    points: int = 2
    radius: float = 0.02
    clamp: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """What a nudged phase went through.

    Attributes:
        contrasts: a (B, T, C) after the steps that were asked for.
        adaptive: a at `adaptive_step`, where it moved least from one step to the next.
        distances: |z_k - z*| / |z*|, root mean square over the copies, at the same steps.
        diverged_at: the step at which a state ran away (then the last sound a stands for all
            later ones), None where none did.
    """

    contrasts: dict[int, Tensor]
    adaptive: Tensor
    adaptive_step: int
    distances: dict[int, float]
    diverged_at: int | None


@torch.no_grad()  # type: ignore[untyped-decorator]
def run_nudged(
    block: Block,
    theta: Parameters,
    batch: Batch,
    rest: Tensor,
    nudge: Nudge,
    *,
    snapshots: tuple[int, ...],
) -> Course:
    """The nudged phase from rest, as long as the last snapshot (in steps, rising)."""
    phase = _Phase(block, theta, batch, rest, nudge)
    contrasts: dict[int, Tensor] = {}
    distances: dict[int, float] = {}
    last, least = torch.zeros_like(rest), math.inf
    adaptive, adaptive_step, diverged_at = last, 0, None
    for step in range(1, snapshots[-1] + 1):
        if diverged_at is None and phase.advance():
            contrast = phase.contrast()
            change = float((contrast - last).norm() / contrast.norm().clamp_min(1e-30))
            if change < least and step >= MIN_ADAPTIVE:
                adaptive, adaptive_step, least = contrast, step, change
            last = contrast
        elif diverged_at is None:
            diverged_at = step
        if step in snapshots:
            contrasts[step], distances[step] = last, phase.distance()
    if adaptive_step == 0:
        adaptive = last
    return Course(contrasts, adaptive, adaptive_step, distances, diverged_at)


class _Phase:
    """The copies of the state, (K, B, T, C) flattened to (K B, T, C), and their motion.

    Copies on conjugate points are conjugates, so that only K = N/2 + 1 of N are kept; all but the
    real ones count twice.
    """

    def __init__(
        self, block: Block, theta: Parameters, batch: Batch, rest: Tensor, nudge: Nudge
    ) -> None:
        self._block, self._theta, self._rest, self._nudge = block, theta, rest, nudge
        self._kept = nudge.points // 2 + 1
        real = nudge.points == 2
        angles = [2 * math.pi * index / nudge.points for index in range(self._kept)]
        turns = torch.tensor([complex(math.cos(angle), math.sin(angle)) for angle in angles])
        self._turns = self._stand(turns.real if real else turns)
        self._shares = self._stand(
            torch.tensor([1.0, *[2.0] * (self._kept - 2), 1.0]) / nudge.points
        )
        self._x = block.embed(theta, batch.inputs).detach().repeat(self._kept, 1, 1)
        self._targets = batch.targets.repeat(self._kept, 1)
        self._z = rest.to(self._turns.dtype).repeat(self._kept, 1, 1)
        self._swirl = self._make_swirl(rest) if nudge.method == "frozen" else None

    def advance(self) -> bool:
        """One Euler step; False (and no step) where a state would run away."""
        push = self._block.force(self._theta, self._z, self._x)
        with torch.enable_grad():
            slope = self._block.loss_slope(self._theta, self._z, self._targets)
        nudged = self._turns * self._join(_clamp(slope, self._nudge.clamp))
        push = push - self._apart(self._nudge.radius * nudged)
        if self._nudge.method != "plain":
            push = push - self._correct()
        moved = self._z + STEP * push
        if not float(moved.abs().amax()) < LIMIT:
            return False
        self._z = moved
        return True

    def contrast(self) -> Tensor:
        """The first Fourier coefficient of the copies over their points, negated; real."""
        weighed = _real(self._join(self._z) * self._turns.conj()) * self._shares
        return -weighed.sum(0) / self._nudge.radius

    def distance(self) -> float:
        """|z_k - z*| / |z*|, root mean square over the copies."""
        apart = (self._join(self._z) - self._rest).abs().square() * self._shares
        return float(apart.sum().sqrt() / self._rest.norm())

    def _correct(self) -> Tensor:
        copies = self._join(self._z)
        if self._swirl is not None:
            reference, swirl = self._rest, self._swirl
        else:
            reference = (_real(copies) * self._shares).sum(0)
            swirl = self._make_swirl(reference)
        apart = self._apart(copies - reference)
        if not apart.is_complex():
            return swirl(apart)
        moved = swirl(torch.cat([apart.real, apart.imag]))
        return torch.complex(*moved.chunk(2))

    def _make_swirl(self, reference: Tensor) -> Swirl:
        """J - J' at one reference, for every copy (real and imaginary parts one by one)."""
        parts = 2 if self._turns.is_complex() else 1
        at = reference.repeat(self._kept * parts, 1, 1)
        return Swirl(self._block, self._theta, self._x.repeat(parts, 1, 1), at)

    def _stand(self, values: Tensor) -> Tensor:
        return values.reshape(self._kept, 1, 1, 1).to(self._rest.device)

    def _join(self, z: Tensor) -> Tensor:
        return z.reshape(self._kept, *self._rest.shape)

    def _apart(self, z: Tensor) -> Tensor:
        return z.reshape(-1, *self._rest.shape[1:])


def _real(z: Tensor) -> Tensor:
    return z.real if z.is_complex() else z


def _clamp(slope: Tensor, medians: float | None) -> Tensor:
    if medians is None:
        return slope
    lengths = slope.abs().square().sum(-1, keepdim=True).sqrt()
    longest = medians * lengths.median()
    return slope * (longest / lengths.clamp_min(1e-12)).clamp_max(1.0)
