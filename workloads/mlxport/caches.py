"""An mlx-lm cache layer that holds sink and window and gives restored entries between.

mlx-lm asks a cache for everything that changes here: `offset` for RoPE, `make_mask` for the mask,
`update_and_fetch` for what attention reads. So no class of mlx-lm is patched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from workloads.mlxport.projection import Pair
from workloads.shared.restored.plans import Plan

Restore = Callable[[int, int], Pair]
State = tuple[Any, ...]


class HeldCache:
    """One layer's exact K/V entries, (B, H, K, D), with their original positions.

    Attributes:
        positions: (K,) of the entries that are kept, on the host.
        offset: positions gone by.
        restored: positions that were read restored, summed over forwards.
    """

    def __init__(self, plan: Plan, restore: Restore | None = None) -> None:
        self.plan = plan
        self.offset = 0
        self.restored = 0
        self.positions = np.empty(0, dtype=np.int64)
        self.keys: mx.array | None = None
        self.values: mx.array | None = None
        self._restore = restore

    def make_mask(
        self, count: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array:
        """Whether each of the next `count` queries sees each key: restored, kept, then new.

        The plan knows the layer's own window, so mlx-lm's `window_size` is not needed.
        """
        del return_array, window_size
        queries = self.offset + np.arange(count)
        spared = self.plan.find_restored(self.offset, count)
        rows = queries[:, None]
        exact = np.concatenate([self.positions, queries])[None, :]
        between = np.arange(spared.start, spared.stop)[None, :]
        seen = [
            self.plan.see(rows, between, restored=True),
            self.plan.see(rows, exact, restored=False),
        ]
        return mx.array(np.concatenate(seen, axis=1))

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Pair:
        """Append (B, H, Q, D) entries, free what no later query reads, give what these read."""
        count = keys.shape[2]
        spared = self.plan.find_restored(self.offset, count)
        positions = np.concatenate([self.positions, self.offset + np.arange(count)])
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.offset += count
        keep = self.plan.keep(positions, self.offset)
        index = mx.array(np.flatnonzero(keep))
        whole = bool(keep.all())
        # Taking copies, so that the longer arrays go when they have been read.
        self.keys = keys if whole else mx.take(keys, index, axis=2)
        self.values = values if whole else mx.take(values, index, axis=2)
        self.positions = positions[keep]
        if not spared:
            return keys, values
        assert self._restore is not None, "a plan restores, so there must be a source"
        self.restored += len(spared)
        between = self._restore(spared.start, spared.stop)
        return (
            mx.concatenate([between[0], keys], axis=2),
            mx.concatenate([between[1], values], axis=2),
        )

    def save(self) -> State:
        """What `back` returns to. No array is ever written into here, so none is copied."""
        return self.keys, self.values, self.positions, self.offset

    def back(self, state: State) -> None:
        """Return to a saved state."""
        self.keys, self.values, self.positions, self.offset = state

    def held(self) -> list[mx.array]:
        """The arrays."""
        return [one for one in (self.keys, self.values) if one is not None]
