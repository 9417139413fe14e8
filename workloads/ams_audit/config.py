"""What a run is told: scale, seeds, arms; and which mechanisms an arm has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.models import Device, Dtype

ArmName = Literal[
    "untrained", "baseline", "stacked", "no_m2_m3", "m3_centroid", "reader_fix", "deaf"
]
Scale = Literal["ci", "tiny", "small"]
Target = Literal["hidden_mean", "content_centroid"]
Reader = Literal["primary", "uniform"]


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """The four mechanisms of the source's v3.48, each a switch.

    Attributes:
        no_encoder: M1, no learned context encoder (what is stored falls back to the frozen pool of
            hidden states), and other weights of the losses.
        warm_start: M2, the query transformer's first cross-attention begins as the language
            model's first q, k and v projections.
        distil: M3, what the bridge's output is pulled to; None for nothing.
        pooled_queries: M4, the bridge's queries begin as pooled hidden states of content tokens.
    """

    no_encoder: bool = False
    warm_start: bool = False
    distil: Target | None = None
    pooled_queries: bool = False


@dataclass(frozen=True, slots=True)
class Arm:
    """One audited model: how it was made, and how case 4.24 reads it.

    Attributes:
        trained_as: whose weights are audited, where it is not the arm's own training.
        deaf: a control, the language model speaks without the memory that it has.
    """

    mechanisms: Mechanisms = Mechanisms()
    trained: bool = True
    reader: Reader = "primary"
    trained_as: ArmName | None = None
    deaf: bool = False


_STACKED = Mechanisms(True, True, "hidden_mean", True)
ARMS: dict[ArmName, Arm] = {
    "untrained": Arm(trained=False),
    "baseline": Arm(),
    "stacked": Arm(_STACKED),
    "no_m2_m3": Arm(Mechanisms(no_encoder=True, pooled_queries=True)),
    "m3_centroid": Arm(Mechanisms(True, True, "content_centroid", True)),
    "reader_fix": Arm(_STACKED, reader="uniform", trained_as="stacked"),
    "deaf": Arm(trained_as="baseline", deaf=True),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of one scale.

    Attributes:
        steps: of every trained arm.
        batch: stores in a step; `told` texts in each.
        traced: tokens that are decoded behind a prompt of the audit.
        backbone_steps: factor on the steps in which the language model itself is trained.
    """

    steps: int
    batch: int
    told: int
    traced: int
    backbone_steps: float


SIZES: dict[Scale, Sizes] = {
    "ci": Sizes(6, 4, 4, 12, 0.06),
    "tiny": Sizes(100, 8, 6, 24, 1.0),
    "small": Sizes(120, 4, 6, 24, 1.0),
}


@dataclass(frozen=True, slots=True)
class Config:
    """The arms and the audit.

    Attributes:
        scale: how long is trained and how long is decoded.
        seeds: of the memories and of their training.
        backbone_seed: of the language model that is trained where no weights are given.
        arms: what is audited; all are trained with the same number of steps.
        rate: learning rate of AdamW.
        deterministic: one thread and deterministic algorithms while the audit runs.
        device, dtype: of given weights.
    """

    scale: Scale = "tiny"
    seeds: tuple[int, ...] = (0, 1)
    backbone_seed: int = 0
    arms: tuple[ArmName, ...] = tuple(ARMS)
    rate: float = 1e-3
    deterministic: bool = True
    device: Device = "auto"
    dtype: Dtype = "auto"

    def __post_init__(self) -> None:
        refuse_problems(list_problems(self, several=("seeds", "arms"), bounds={"rate": (1e-6, 1)}))

    @property
    def sizes(self) -> Sizes:
        """The numbers of the scale."""
        return SIZES[self.scale]
