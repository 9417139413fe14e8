"""The arms: for every layer what is kept and what is restored, and from where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from workloads.shared.layers import FULL, SLIDING, AttentionLayer
from workloads.shared.restored import plans
from workloads.shared.restored.plans import Plan

ArmName = Literal[
    "full",
    "native",
    "identity",
    "sink_window",
    "projected",
    "projected_full",
    "s5",
    "s5_nothing",
    "s5_replaced",
    "partial",
    "partial_nothing",
]
SourceName = Literal["none", "own", "projected"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an arm is made of besides the layers: sink, window, and the layers of `partial`."""

    sink: int
    window: int
    exact: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Arm:
    """One treatment or control.

    Attributes:
        plan: the layers' plans.
        source: where restored K/V come from.
        replaced: the seed's prefill instead of streaming.
        hybrid: only for a model with both full and sliding layers.
    """

    plan: Callable[[Sequence[AttentionLayer], Bounds], dict[int, Plan]]
    source: SourceName = "none"
    replaced: bool = False
    hybrid: bool = False


def _keep_all(layers: Sequence[AttentionLayer], bounds: Bounds) -> dict[int, Plan]:
    del bounds
    return plans.keep_all(layers)


def _keep_native(layers: Sequence[AttentionLayer], bounds: Bounds) -> dict[int, Plan]:
    del bounds
    return plans.keep_native(layers)


def _bound(kind: str | None, restored: bool) -> Callable[..., dict[int, Plan]]:
    """Sink and window in all layers but those of `kind`, which stay exact."""

    def build(layers: Sequence[AttentionLayer], bounds: Bounds) -> dict[int, Plan]:
        exact = plans.choose(layers, kind) if kind else frozenset()
        return plans.bound(
            layers, sink=bounds.sink, window=bounds.window, restored=restored, exact=exact
        )

    return build


def _bound_others(restored: bool) -> Callable[..., dict[int, Plan]]:
    def build(layers: Sequence[AttentionLayer], bounds: Bounds) -> dict[int, Plan]:
        return plans.bound(
            layers, sink=bounds.sink, window=bounds.window, restored=restored, exact=bounds.exact
        )

    return build


ARMS: dict[ArmName, Arm] = {
    # Every layer holds every position: the oracle, and the bytes of a full cache.
    "full": Arm(_keep_all),
    # What the model itself may still read, as transformers' hybrid cache holds it.
    "native": Arm(_keep_native),
    # The verifier's own K/V through the path of restoration: must equal the oracle.
    "identity": Arm(_bound(None, True), "own"),
    # Nothing restored anywhere: what the method has to beat.
    "sink_window": Arm(_bound(None, False)),
    "projected": Arm(_bound(None, True), "projected"),
    "projected_full": Arm(_bound(SLIDING, True), "projected", hybrid=True),
    # The seed's S5: full-attention layers exact, sliding ones restored.
    "s5": Arm(_bound(FULL, True), "projected", hybrid=True),
    "s5_nothing": Arm(_bound(FULL, False), hybrid=True),
    "s5_replaced": Arm(_bound(FULL, True), "projected", replaced=True, hybrid=True),
    # The layers that the config names stay exact.
    "partial": Arm(_bound_others(True), "projected"),
    "partial_nothing": Arm(_bound_others(False)),
}
