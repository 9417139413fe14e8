"""How K/V entries are stored: as they are, affine in groups, or as points of a lattice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from workloads.kvquant import lattices
from workloads.kvquant.packing import pack, unpack

CodecName = Literal["identity", "affine8", "affine6", "affine4", "d4", "e8"]
GROUP = 64
LATTICE_BITS = 6


class Codec(Protocol):
    """Stores vectors (..., D) as tensors whose second last dimension stays the position."""

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What is stored."""

    def decode(self, stored: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        """The vectors that come back."""


class Identity:
    """The control: nothing is lost."""

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The vectors."""
        return (vectors,)

    def decode(self, stored: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        """The vectors."""
        return stored[0].to(dtype)


@dataclass(frozen=True, slots=True)
class Affine:
    """`bits` for a value, and a float16 scale and offset for every group of up to 64 values.

    Source: MLX's `mx.quantize`, whose layout this is (scale and bias in the input's 16 bits).
    """

    bits: int

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Packed codes, scales, offsets."""
        groups = vectors.float().unflatten(-1, (-1, min(GROUP, vectors.shape[-1])))
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        offset = low.half()
        # The scale is rounded up in float16, so that the highest value still has a code.
        scale = ((high - offset.float()) / (2**self.bits - 1)).clamp(min=1e-7)
        scale = torch.nextafter(scale.half(), torch.tensor(torch.inf, dtype=torch.float16))
        codes = ((groups - offset.float()) / scale.float()).round().clamp(0, 2**self.bits - 1)
        packed = pack(codes.flatten(-2), self._widths(vectors.shape[-1]))
        return packed, scale.squeeze(-1), offset.squeeze(-1)

    def decode(self, stored: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        """See `Codec.decode`."""
        packed, scale, offset = stored
        count = packed.shape[-1] * 8 // self.bits
        codes = unpack(packed, self._widths(count)).float().unflatten(-1, (scale.shape[-1], -1))
        return (codes * scale.float()[..., None] + offset.float()[..., None]).flatten(-2).to(dtype)

    def _widths(self, count: int) -> list[int]:
        return [self.bits] * count


@dataclass(frozen=True, slots=True)
class Lattice:
    """Vectors turned by a Hadamard matrix with signs, scaled by one float16, put on a lattice.

    The turn spreads outliers over all coordinates, so that one scale serves the vector.

    Attributes:
        size: coordinates of a point: 4 (D4) or 8 (E8).
        bits: for a coordinate.
    """

    size: int
    bits: int = LATTICE_BITS

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Packed codes, scales."""
        width = vectors.shape[-1]
        turned = (vectors.float() * _signs(width, vectors.device)) @ _hadamard(
            width, vectors.device
        )
        # The nearest point may lie a step further out than the value.
        reach = 2 ** (self.bits - 1) - 2
        scale = (turned.abs().amax(-1, keepdim=True) / reach).clamp(min=1e-7)
        scale = torch.nextafter(scale.half(), torch.tensor(torch.inf, dtype=torch.float16))
        blocks = (turned / scale.float()).unflatten(-1, (-1, self.size))
        if self.size == 4:
            codes = lattices.encode_d(lattices.find_nearest_d(blocks), bits=self.bits)
        else:
            codes = lattices.encode_e8(lattices.find_nearest_e8(blocks), bits=self.bits)
        return pack(codes.flatten(-2), self._widths(width)), scale

    def decode(self, stored: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        """See `Codec.decode`."""
        packed, scale = stored
        block_bits = self._block_bits()
        blocks = packed.shape[-1] * 8 // sum(block_bits)
        width = blocks * self.size
        codes = unpack(packed, self._widths(width)).unflatten(-1, (blocks, -1))
        decode: Callable[..., torch.Tensor] = (
            lattices.decode_d if self.size == 4 else lattices.decode_e8
        )
        turned = decode(codes, bits=self.bits).flatten(-2) * scale.float()
        back = turned @ _hadamard(width, packed.device)
        return (back * _signs(width, packed.device)).to(dtype)

    def _block_bits(self) -> list[int]:
        own = [self.bits] * (self.size - 1) + [self.bits - 1]
        return own if self.size == 4 else [*own, 1]

    def _widths(self, width: int) -> list[int]:
        return self._block_bits() * (width // self.size)


CODECS: dict[CodecName, Codec] = {
    "identity": Identity(),
    "affine8": Affine(8),
    "affine6": Affine(6),
    "affine4": Affine(4),
    "d4": Lattice(4),
    "e8": Lattice(8),
}


def _hadamard(width: int, device: torch.device) -> torch.Tensor:
    """The symmetric orthonormal Hadamard matrix; `width` is a power of two."""
    assert width & (width - 1) == 0, f"a head of {width} is no power of two"
    matrix = torch.ones(1, 1, device=device)
    while len(matrix) < width:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0)
    return matrix / width**0.5


def _signs(width: int, device: torch.device) -> torch.Tensor:
    """Fixed signs, so that no natural direction stays one of the axes."""
    generator = torch.Generator().manual_seed(width)
    return (torch.randint(0, 2, (width,), generator=generator) * 2.0 - 1).to(device)
