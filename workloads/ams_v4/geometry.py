"""A bundle's geometry: metric, paths on its base, and a connection that carries fibers along them.

Seed 001, v4.1: SPD metric, antisymmetric connection, transport that keeps the norm.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

STEPS = 3  # segments of a path


class Metric(nn.Module):  # type: ignore[misc]
    """A symmetric positive definite matrix at every point: `L(x) L(x)' + floor`."""

    def __init__(self, base: int, floor: float = 0.1) -> None:
        super().__init__()
        self._base, self._floor = base, floor
        self.lower = nn.Linear(base, base * base)
        nn.init.normal_(self.lower.weight, std=0.02)
        with torch.no_grad():
            self.lower.bias.copy_(torch.eye(base).flatten())

    def forward(self, place: torch.Tensor) -> torch.Tensor:
        """Matrices (..., D, D) at places (..., D)."""
        lower = self.lower(place).unflatten(-1, (self._base, self._base)).tril()
        return lower @ lower.mT + self._floor * torch.eye(self._base, device=place.device)

    def squared(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Squared length (...) of the straight step between two places (..., D)."""
        step = other - one
        matrix = self((one + other) / 2)
        return torch.einsum("...i,...ij,...j->...", step, matrix, step)


def straight_path(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Places (..., STEPS + 1, D) evenly on the line between (..., D) and (..., D)."""
    share = torch.linspace(0, 1, STEPS + 1, device=start.device)[:, None]
    return start[..., None, :] + share * (end - start)[..., None, :]


def great_circle_path(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """The same on the unit sphere, between unit vectors."""
    cosine = (start * end).sum(-1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.arccos(cosine)[..., None, :]
    share = torch.linspace(0, 1, STEPS + 1, device=start.device)[:, None]
    along = torch.sin((1 - share) * angle) * start[..., None, :]
    along = along + torch.sin(share * angle) * end[..., None, :]
    return functional.normalize(along, dim=-1)


class Connection(nn.Module):  # type: ignore[misc]
    """An antisymmetric matrix for every step on the base: rotations in a few learned planes.

    A sum of planes instead of a full matrix: its exponential is then a product of rotations, which
    keeps a fiber's norm exactly and costs no matrix exponential.
    """

    def __init__(self, base: int, fiber: int, planes: int = 4) -> None:
        super().__init__()
        self.frames = nn.Parameter(torch.randn(planes, 2, fiber))
        self.form = nn.Linear(base, planes * base)
        nn.init.normal_(self.form.weight, std=0.02)
        nn.init.normal_(self.form.bias, std=0.1)
        self._planes = planes

    def angles(self, place: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Angles (..., K) of a step (..., D) at places (..., D); linear in the step."""
        form = self.form(place).unflatten(-1, (self._planes, -1))
        return torch.einsum("...kd,...d->...k", form, step)

    def planes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Two orthonormal vectors (K, F) for each plane."""
        first = functional.normalize(self.frames[:, 0], dim=-1)
        second = self.frames[:, 1]
        second = second - (second * first).sum(-1, keepdim=True) * first
        return first, functional.normalize(second, dim=-1)

    def generator(self, place: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """The antisymmetric matrices (..., F, F) of a step."""
        first, second = self.planes()
        flat = torch.einsum("kf,kg->kfg", second, first)
        return torch.einsum("...k,kfg->...fg", self.angles(place, step), flat - flat.mT)

    def transport(self, fiber: torch.Tensor, path: torch.Tensor) -> torch.Tensor:
        """Carry fibers (..., F) along paths (..., P, D); the norm stays."""
        first, second = self.planes()
        for index in range(path.shape[-2] - 1):
            place, after = path[..., index, :], path[..., index + 1, :]
            angles = self.angles((place + after) / 2, after - place)
            for plane in range(self._planes):
                fiber = _rotate(fiber, first[plane], second[plane], angles[..., plane : plane + 1])
        return fiber


def _rotate(
    fiber: torch.Tensor, first: torch.Tensor, second: torch.Tensor, angle: torch.Tensor
) -> torch.Tensor:
    one, two = (fiber @ first)[..., None], (fiber @ second)[..., None]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    turned_one, turned_two = cosine * one - sine * two, sine * one + cosine * two
    return fiber + (turned_one - one) * first + (turned_two - two) * second
