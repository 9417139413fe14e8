"""What is held for evicted positions."""

from __future__ import annotations

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


class Rows:
    """A pair of tensors that grows along positions and is freed from the front."""

    def __init__(self) -> None:
        self.pair: Pair | None = None
        self.first = 0

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Add (B, Q, ...) rows; what is stored is a copy without spare room."""
        if self.pair is None:
            self.pair = keys.clone(), values.clone()
        else:
            self.pair = torch.cat([self.pair[0], keys], 1), torch.cat([self.pair[1], values], 1)

    def take(self, low: int, high: int) -> Pair:
        """The rows at positions low to high - 1."""
        assert self.pair is not None
        assert low >= self.first, "asked for a position whose rows were freed"
        span = slice(low - self.first, high - self.first)
        return self.pair[0][:, span], self.pair[1][:, span]

    def settle(self, first: int) -> None:
        """Free the rows before `first`; the copy that stays is of its own size."""
        if self.pair is not None and first > self.first:
            start = first - self.first
            self.pair = self.pair[0][:, start:].clone(), self.pair[1][:, start:].clone()
            self.first = first

    def drop(self, count: int) -> None:
        """Free the last `count` rows."""
        if self.pair is not None and count:
            self.pair = self.pair[0][:, :-count].clone(), self.pair[1][:, :-count].clone()

    def held(self) -> list[torch.Tensor]:
        """The tensors."""
        return list(self.pair or ())
