"""The nearest point of D4 and of E8, and codes for the points.

D_n are the integer vectors whose sum is even; E8 is D8 and D8 moved by one half in every
coordinate.

Source: Conway and Sloane, Fast quantizing and decoding algorithms for lattice quantizers and
codes, IEEE Transactions on Information Theory 28 (1982), sections 2 and 3.
"""

from __future__ import annotations

import torch


def find_nearest_d(points: torch.Tensor) -> torch.Tensor:
    """The nearest point of D_n to each of `points` (..., n).

    Where the rounded coordinates have an odd sum, the one that was rounded furthest goes the
    other way.
    """
    rounded = points.round()
    rest = points - rounded
    worst = rest.abs().argmax(-1, keepdim=True)
    step = torch.where(rest.gather(-1, worst) >= 0, 1.0, -1.0).to(points.dtype)
    moved = rounded.scatter_add(-1, worst, step)
    odd = rounded.sum(-1, keepdim=True).remainder(2) == 1
    return torch.where(odd, moved, rounded)


def find_nearest_e8(points: torch.Tensor) -> torch.Tensor:
    """The nearest point of E8 to each of `points` (..., 8)."""
    whole = find_nearest_d(points)
    half = find_nearest_d(points - 0.5) + 0.5
    further = (points - whole).square().sum(-1) > (points - half).square().sum(-1)
    return torch.where(further[..., None], half, whole)


def encode_d(points: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Codes (..., n) of points of D_n: `bits` for a coordinate, one less for the last.

    The last coordinate's lowest bit follows from the others' sum and is left out.
    """
    shifted = points.long() + 2 ** (bits - 1)
    return torch.cat([shifted[..., :-1], shifted[..., -1:] >> 1], -1)


def decode_d(codes: torch.Tensor, *, bits: int) -> torch.Tensor:
    """The inverse of `encode_d`, as float32."""
    centre = 2 ** (bits - 1)
    first = codes[..., :-1] - centre
    low = (first.sum(-1, keepdim=True) + centre).remainder(2)
    last = (codes[..., -1:] << 1) + low - centre
    return torch.cat([first, last], -1).float()


def encode_e8(points: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Codes (..., 9) of points of E8: those of D8, and one bit for the half."""
    half = (points[..., :1].remainder(1) != 0).long()
    return torch.cat([encode_d((points - 0.5 * half).round(), bits=bits), half], -1)


def decode_e8(codes: torch.Tensor, *, bits: int) -> torch.Tensor:
    """The inverse of `encode_e8`, as float32."""
    return decode_d(codes[..., :-1], bits=bits) + 0.5 * codes[..., -1:]
