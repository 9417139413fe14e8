"""Codes of any width, packed without spare bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

BYTE = 8


def pack(codes: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """Pack non-negative integers (..., N), of `widths` bits each, into bytes.

    The bits of a row stand one after the other, lowest first; the last byte is filled with zeros.

    Returns:
        uint8 (..., ceil(sum of widths / 8)).
    """
    longest = max(widths)
    spread = (codes.int()[..., None] >> torch.arange(longest, device=codes.device)) & 1
    used = [code * longest + bit for code, width in enumerate(widths) for bit in range(width)]
    bits = spread.to(torch.uint8).flatten(-2)
    if len(used) < bits.shape[-1]:
        bits = bits[..., torch.tensor(used, device=codes.device)]
    bits = torch.nn.functional.pad(bits, (0, -len(used) % BYTE)).unflatten(-1, (-1, BYTE))
    return (bits << torch.arange(BYTE, dtype=torch.uint8, device=codes.device)).sum(
        -1, dtype=torch.uint8
    )


def unpack(packed: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """The inverse of `pack`: int32 (..., N)."""
    if all(width == BYTE for width in widths):
        return packed.int()
    longest = max(widths)
    places = torch.arange(BYTE, dtype=torch.uint8, device=packed.device)
    bits = ((packed[..., None] >> places) & 1).flatten(-2)
    if any(width != longest for width in widths):
        bits = torch.nn.functional.pad(bits, (0, 1))  # a zero that the missing bits point at
        zero, start, index = bits.shape[-1] - 1, 0, []
        for width in widths:
            index += [start + bit if bit < width else zero for bit in range(longest)]
            start += width
        bits = bits[..., torch.tensor(index, device=packed.device)]
    grouped = bits[..., : len(widths) * longest].unflatten(-1, (-1, longest)).int()
    return (grouped << torch.arange(longest, device=packed.device)).sum(-1, dtype=torch.int32)
