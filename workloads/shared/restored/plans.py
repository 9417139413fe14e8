"""What each verifier layer keeps exactly and what it takes restored, for every arm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
