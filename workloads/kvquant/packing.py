"""Codes of any width, packed without spare bits."""

from __future__ import annotations

import torch


def pack(codes: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """Pack non-negative integers (..., N), of `widths` (N,) bits, into bytes (..., ceil(sum / 8)).

    The bits of a row stand one after the other, lowest first; the last byte is filled with zeros.
    """
    column, shift = _list_bits(widths, codes.device)
    bits = (codes.long()[..., column] >> shift) & 1
    spare = -len(column) % 8
    bits = torch.nn.functional.pad(bits, (0, spare)).unflatten(-1, (-1, 8))
    return (bits << torch.arange(8, device=codes.device)).sum(-1).to(torch.uint8)


def unpack(packed: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """The inverse of `pack`: integers (..., N)."""
    column, shift = _list_bits(widths, packed.device)
    bits = (packed.long()[..., None] >> torch.arange(8, device=packed.device)) & 1
    bits = bits.flatten(-2)[..., : len(column)] << shift
    codes = torch.zeros(*packed.shape[:-1], len(widths), dtype=torch.long, device=packed.device)
    return codes.index_add_(-1, column, bits)


def _list_bits(widths: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For every bit of a row: which code it belongs to, and its place in it."""
    widths = widths.to(device)
    column = torch.repeat_interleave(torch.arange(len(widths), device=device), widths)
    starts = torch.cumsum(widths, 0) - widths
    return column, torch.arange(len(column), device=device) - starts[column]
