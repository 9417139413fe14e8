"""What each verifier layer keeps exactly and what it takes restored, for every arm.

Positions are arrays of any library whose comparisons work element by element: the torch
verifier and the MLX one ask the same plan.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from workloads.shared.layers import FULL, SLIDING, AttentionLayer


@dataclass(frozen=True, slots=True)
class Plan:
    """One layer's plan.

    Attributes:
        sink: first positions that are kept.
        window: last positions that are kept; None keeps all.
        native: the layer's own window, None where it has full attention.
        restored: whether evicted positions are read restored; otherwise they are not read.
    """

    sink: int = 0
    window: int | None = None
    native: int | None = None
    restored: bool = False

    @property
    def reach(self) -> int | None:
        """How many last positions a query may read at most, None for all."""
        return self.native

    def find_restored(self, seen: int, count: int, *, replaced_below: int = 0) -> range:
        """The positions that the next `count` queries, at `seen` and on, read restored."""
        if self.window is None or not self.restored:
            return range(0)
        low = self.find_first_needed(seen)
        high = max(seen + count - self.window, min(replaced_below, seen + count))
        return range(low, max(low, high))

    def find_first_needed(self, seen: int) -> int:
        """The first position that a query at `seen` or later may read restored."""
        return self.sink if self.reach is None else max(self.sink, seen - self.reach + 1)

    def see(self, rows: Any, places: Any, *, restored: bool, replaced_below: int = 0) -> Any:
        """Whether queries at `rows` (Q, 1) read the entries at `places` (1, K)."""
        seen = places <= rows
        if self.window is not None:
            edge = (rows - self.window).clip(replaced_below - 1)
            beyond = places > edge
            seen = seen & (~beyond if restored else (places < self.sink) | beyond)
        if self.native is not None:
            seen = seen & (places > rows - self.native)
        return seen

    def keep(self, places: Any, seen: int) -> Any:
        """Which entries at `places` (K,) a query at `seen` or later still reads exactly."""
        if self.window is None:
            return places < seen
        # The next query, at `seen`, brings its own entry: window - 1 older ones stay.
        sink = places < self.sink
        if self.native is not None:
            sink = sink & (places > seen - self.native)
        return (places > seen - self.window) | sink


def keep_all(layers: Sequence[AttentionLayer]) -> dict[int, Plan]:
    """Every layer holds every position, also those beyond its own window: the full cache."""
    return {layer.index: Plan(native=layer.window) for layer in layers if layer.owns}


def keep_native(layers: Sequence[AttentionLayer]) -> dict[int, Plan]:
    """Every layer holds what the model itself may still read: transformers' hybrid cache."""
    return {
        layer.index: Plan(window=layer.window, native=layer.window)
        for layer in layers
        if layer.owns
    }


def bound(
    layers: Sequence[AttentionLayer],
    *,
    sink: int,
    window: int,
    restored: bool,
    exact: Collection[int] = (),
) -> dict[int, Plan]:
    """Sink and window in every layer but those of `exact`, which hold what they may read."""
    plans = keep_native(layers)
    for layer in layers:
        if layer.owns and layer.index not in exact:
            plans[layer.index] = Plan(sink, window, layer.window, restored)
    return plans


def choose(layers: Sequence[AttentionLayer], kind: str) -> frozenset[int]:
    """The layers of one kind, `full_attention` or `sliding_attention`."""
    assert kind in (FULL, SLIDING)
    return frozenset(layer.index for layer in layers if layer.kind == kind)
