"""One layer's exact K/V entries, with their original positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers.cache_utils import DynamicLayer

from workloads.shared.restored.plans import Plan

Restore = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


class HeldLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's exact K/V entries, (B, H, K, D), with their original positions.

    Attributes:
        positions: (K,) of the entries that are kept.
        seen: positions gone by.
    """

    def __init__(self, plan: Plan, restore: Restore, *, recording: bool = False) -> None:
        super().__init__()
        self._recording = recording
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self.plan = plan
        self.seen = 0
        self.positions = torch.empty(0, dtype=torch.long)
        self.replaced_below = 0
        self._restore = restore

    def find_restored(self, count: int) -> range:
        """The positions that the next `count` queries read restored."""
        return self.plan.find_restored(self.seen, count, replaced_below=self.replaced_below)

    def see(self, queries: torch.Tensor) -> torch.Tensor:
        """Whether each of the next queries (Q,) sees each key (K,): restored, kept, then new."""
        rows, spared = queries[:, None], self.find_restored(len(queries))
        restored = torch.arange(spared.start, spared.stop, device=queries.device)[None, :]
        exact = torch.cat([self.positions.to(queries.device), queries])[None, :]
        below = self.replaced_below
        return torch.cat(
            [
                self.plan.see(rows, restored, restored=True, replaced_below=below),
                self.plan.see(rows, exact, restored=False, replaced_below=below),
            ],
            dim=1,
        )

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (B, H, Q, D) entries, free what no later query reads, give what these read."""
        del args, kwargs
        spared = self.find_restored(key_states.shape[-2])
        keys, values = super().update(key_states, value_states)
        self._append(key_states.shape[-2])
        if not self._recording:
            self._free()
        if not spared:
            return keys, values
        restored = self._restore(spared.start, spared.stop)
        return torch.cat([restored[0], keys], -2), torch.cat([restored[1], values], -2)

    def rollback(self, count: int) -> None:
        """Forget the last `count` positions, and free what no later query reads."""
        if count:
            self.keys, self.values = self.keys[..., :-count, :], self.values[..., :-count, :]
            self.positions = self.positions[:-count]
            self.seen -= count
        self._free()

    def _append(self, count: int) -> None:
        device = self.keys.device
        new = torch.arange(self.seen, self.seen + count, device=device)
        self.positions = torch.cat([self.positions.to(device), new])
        self.seen += count

    def _free(self) -> None:
        positions = self.positions
        keep = self.plan.keep(positions, self.seen)
        if not bool(keep.all()):
            index = keep.nonzero().squeeze(1)
            # Indexing copies into tensors of the kept size; the larger ones are then freed.
            self.keys = self.keys.index_select(-2, index)
            self.values = self.values.index_select(-2, index)
            self.positions = positions.index_select(0, index)

    def get_seq_length(self) -> int:
        """Positions gone by, not entries kept."""
        return self.seen
