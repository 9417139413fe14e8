"""K/V entries in buffers whose slots stand for positions, so that rolling back costs nothing.

Position p lies in slot p, or in slot p mod C of a ring of C. What was written for a position is
written over when the position comes again; until then no query may look at it, because its
position is later than the query's own (or, in a ring, reads as older than the window). So the
rows of a batch may stand at different lengths, and a rejected draft is forgotten by going on from
a shorter length.
"""

from __future__ import annotations

import torch

SPARE = 64


class PositionBuffer:
    """K and V of one layer, (B, H, C, D) each.

    Args:
        ring: slots of a sliding layer, at least its window and the longest block together;
            None for a buffer that grows.
    """

    def __init__(self, *, ring: int | None = None) -> None:
        self.ring = ring
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def write(
        self, keys: torch.Tensor, values: torch.Tensor, starts: torch.Tensor, end: int
    ) -> None:
        """Write (B, H, Q, D) entries of positions `starts` (B,) and on.

        Args:
            keys: rotated for their positions.
            values: beside them.
            starts: first position of each row; one element where all rows have the same.
            end: the highest position written, and one.
        """
        self._reserve(keys, values, end)
        assert self.keys is not None
        assert self.values is not None
        count = keys.shape[-2]
        first = end - count if self.ring is None else (end - count) % self.ring
        if len(starts) == 1 and (self.ring is None or first + count <= self.ring):
            self.keys[:, :, first : first + count] = keys
            self.values[:, :, first : first + count] = values
            return
        places = starts[:, None] + torch.arange(count, device=starts.device)
        if self.ring is not None:
            places = places % self.ring
        index = places[:, None, :, None].expand(len(keys), keys.shape[1], -1, keys.shape[-1])
        self.keys.scatter_(2, index, keys)
        self.values.scatter_(2, index, values)

    def read(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V (B, H, K, D) of all slots below `end`, views without a copy."""
        assert self.keys is not None
        assert self.values is not None
        count = self.count(end)
        return self.keys[:, :, :count], self.values[:, :, :count]

    def read_last(self, end: int, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V (B, H, K, D) of the last `window` positions below `end`, in their order.

        Views, but where a ring's end lies between them.
        """
        assert self.keys is not None
        assert self.values is not None
        count = min(window, end)
        first = end - count if self.ring is None else (end - count) % self.ring
        after = first + count - self.keys.shape[2]
        parts = [
            [held[:, :, first : first + count], held[:, :, : max(after, 0)]]
            for held in (self.keys, self.values)
        ]
        keys, values = (torch.cat(two, dim=2) if after > 0 else two[0] for two in parts)
        return keys, values

    def count(self, end: int) -> int:
        """How many slots there are to read once positions below `end` are written."""
        return end if self.ring is None else min(end, self.ring)

    def positions(self, ends: torch.Tensor, end: int) -> torch.Tensor:
        """The position in each slot (R, K) for rows that were written up to `ends` (R,).

        Slots of a ring that were never written read as negative positions.
        """
        slots = torch.arange(self.count(end), device=ends.device)[None, :]
        if self.ring is None:
            return slots.expand(len(ends), -1)
        last = ends[:, None] - 1
        return last - (last - slots) % self.ring

    def _reserve(self, keys: torch.Tensor, values: torch.Tensor, end: int) -> None:
        have = 0 if self.keys is None else self.keys.shape[2]
        need = self.ring if self.ring is not None else end
        if have >= need:
            return
        room = need if self.ring is not None else max(end + SPARE, 2 * have)
        grown = []
        for old, like in ((self.keys, keys), (self.values, values)):
            shape = (like.shape[0], like.shape[1], room, like.shape[3])
            # Zeros, since what a mask hides still goes through a product: NaN would stay NaN.
            new = like.new_zeros(shape)
            if old is not None:
                new[:, :, :have] = old
            grown.append(new)
        self.keys, self.values = grown
