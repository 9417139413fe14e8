"""Kakeya sets: many long vectors as few directions, and their registry.

A set keeps a field's principal directions, one direction aligned with its bundle's axis, spherical
centres of what is left, and a sparse remainder (seed 001, v4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

KEPT_VARIANCE = 0.99
CENTERS = 16
RESIDUALS = 5
MIN_ENTRIES = 8
ALIGNMENT_TOLERANCE = 1e-3
_ROUNDS = 10

ROUTING = (
    ("time", "semantic"),
    ("topic", "content"),
    ("topic", "semantic"),
    ("context", "descriptor"),
)
"""Which bundle's axis each set is aligned with, and the field that it holds."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """One batch of vectors: (B,) along the axis, (B,) centre and along it, (B, K) remainder."""

    along: torch.Tensor
    segment: torch.Tensor
    length: torch.Tensor
    places: torch.Tensor
    values: torch.Tensor

    @property
    def floats(self) -> int:
        """Numbers kept for one vector."""
        return 3 + 2 * int(self.places.shape[-1])


def principal_directions(
    vectors: torch.Tensor, kept: float = KEPT_VARIANCE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and the fewest principal directions (R, D) that keep `kept` of the variance."""
    mean = vectors.mean(0)
    _, scales, basis = torch.linalg.svd(vectors - mean, full_matrices=False)
    share = scales.square().cumsum(0) / scales.square().sum().clamp_min(1e-12)
    rank = int((share < kept).sum()) + 1
    return mean, basis[:rank]


def spherical_centers(points: torch.Tensor, count: int) -> torch.Tensor:
    """Unit centres (C, R) of the directions of points (n, R), by k-means from spread-out starts."""
    units = functional.normalize(points, dim=-1)
    chosen = [0]
    while len(chosen) < min(count, len(units)):
        nearest = (units @ units[chosen].T).max(-1).values
        chosen.append(int(nearest.argmin()))
    centers = units[chosen]
    for _ in range(_ROUNDS):
        nearest = (units @ centers.T).argmax(-1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, units)
        empty = sums.norm(dim=-1, keepdim=True) < 1e-9
        centers = torch.where(empty, centers, functional.normalize(sums, dim=-1))
    return centers


class KakeyaSet:
    """One field of a store's entries, compressed; build it before it is used.

    Args:
        lift: (base, field): carries the bundle's axis into the field.
    """

    def __init__(self, lift: torch.Tensor) -> None:
        self._lift = lift
        self._mean: torch.Tensor | None = None

    @property
    def active(self) -> bool:
        """Whether it was built."""
        return self._mean is not None

    def build(self, vectors: torch.Tensor, axis: torch.Tensor) -> None:
        """Find directions for vectors (n, D) and a bundle's unit axis (base,).

        Raises:
            ValueError: fewer than `MIN_ENTRIES` vectors, or of another width.
        """
        if len(vectors) < MIN_ENTRIES:
            raise ValueError(f"{len(vectors)} entries; a set needs at least {MIN_ENTRIES}")
        if vectors.shape[1] != self._lift.shape[1]:
            raise ValueError(f"vectors are {vectors.shape[1]} wide, not {self._lift.shape[1]}")
        vectors = vectors.detach()
        self._mean, self._basis = principal_directions(vectors)
        self.direction = self._target(axis)
        rest = self._rest((vectors - self._mean) @ self._basis.T)
        self._centers = spherical_centers(rest, min(CENTERS, len(vectors) // 2))

    def _target(self, axis: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self._basis @ (axis.detach() @ self._lift), dim=0)

    def _rest(self, coordinates: torch.Tensor) -> torch.Tensor:
        return coordinates - (coordinates @ self.direction)[:, None] * self.direction

    def alignment_error(self, axis: torch.Tensor) -> float:
        """Distance of the kept direction from where the bundle's axis points now."""
        return float((self.direction - self._target(axis)).norm())

    def encode(self, vectors: torch.Tensor) -> Compressed:
        """Compress vectors (B, D); gradients flow through what is kept."""
        assert self._mean is not None
        coordinates = (vectors - self._mean) @ self._basis.T
        rest = self._rest(coordinates)
        segment = (rest @ self._centers.T).argmax(-1)
        length = (rest * self._centers[segment]).sum(-1)
        remainder = rest - length[:, None] * self._centers[segment]
        places = remainder.abs().topk(min(RESIDUALS, remainder.shape[-1]), dim=-1).indices
        return Compressed(
            coordinates @ self.direction, segment, length, places, remainder.gather(-1, places)
        )

    def decode(self, kept: Compressed) -> torch.Tensor:
        """The vectors (B, D) again, as far as they were kept."""
        assert self._mean is not None
        rest = torch.zeros(len(kept.along), self._basis.shape[0], device=self._mean.device)
        rest = rest.scatter(-1, kept.places, kept.values)
        rest = rest + kept.length[:, None] * self._centers[kept.segment]
        return self._mean + (rest + kept.along[:, None] * self.direction) @ self._basis


class KakeyaRegistry:
    """The sets of one store, by (bundle, field) as `ROUTING` has them.

    Args:
        widths: of each bundle's base and of each field.
        seed: of the fixed maps from base to field.
    """

    def __init__(self, bases: Mapping[str, int], fields: Mapping[str, int], seed: int = 0) -> None:
        source = torch.Generator().manual_seed(seed)
        self.sets = {
            (bundle, name): KakeyaSet(
                torch.randn(bases[bundle], fields[name], generator=source) / bases[bundle] ** 0.5
            )
            for bundle, name in ROUTING
        }

    def build(self, fields: Mapping[str, torch.Tensor], axes: Mapping[str, torch.Tensor]) -> None:
        """Build every set from fields (n, D) and axes (base,)."""
        for (bundle, name), one in self.sets.items():
            one.build(fields[name], axes[bundle])

    def errors(self, fields: Mapping[str, torch.Tensor]) -> dict[tuple[str, str], torch.Tensor]:
        """Relative reconstruction errors (n,) of every set; gradients flow."""
        found = {}
        for key, one in self.sets.items():
            vectors = fields[key[1]]
            lost = (one.decode(one.encode(vectors)) - vectors).norm(dim=-1)
            found[key] = lost / vectors.norm(dim=-1).clamp_min(1e-9)
        return found

    def misalignment(self, axes: Mapping[str, torch.Tensor]) -> float:
        """The worst alignment error of the sets that are built."""
        return max(
            one.alignment_error(axes[bundle])
            for (bundle, _), one in self.sets.items()
            if one.active
        )
