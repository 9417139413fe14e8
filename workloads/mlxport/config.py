"""What a run of the MLX port is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.mlxport.models import MlxDevice
from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.verifiers import Scale

ArmName = Literal["full", "native", "identity", "sink_window", "projected", "s5", "planted"]
Precision = Literal["float32", "bfloat16", "stored"]


@dataclass(frozen=True, slots=True)
class Config:
    """The verifier, what is restored, what is drafted, and what it is compared with.

    Attributes:
        contexts: prompt lengths in tokens; longer than a sliding layer's window.
        seeds: each draws its own problems.
        samples: problems for each context and seed.
        arms: what runs on each problem; `planted` is `projected` with K and V mistaken in MLX.
        dtypes: of weights and K/V; `stored` leaves them as they are on disk.
        reference: `torch` compares with torch, `none` runs MLX alone.
        scale: the size of a verifier that is trained here; unused where weights are given.
        verifier_seed: of that verifier.
        drafter_layers: of the verifier's first layers, whose K/V are what is projected from;
            unused where a drafter is given.
        rank: of the projection's latents; unused where a projection is given.
        texts: training texts of the closed form, of `length` tokens.
        sink: first positions kept; `window`: last ones, the query's own included.
        chunk: prompt positions in one forward.
        new_tokens: decoded in every comparison.
        block: positions of a drafted block, the anchor's included, where no drafter is given.
        eval_rows: problems in one batch.
        mlx_device: where MLX computes; torch is on the CPU.
    """

    contexts: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    samples: int = 4
    arms: tuple[ArmName, ...] = ("full", "identity", "sink_window", "projected", "s5", "planted")
    dtypes: tuple[Precision, ...] = ("float32", "bfloat16")
    reference: Literal["torch", "none"] = "torch"
    scale: Scale = "tiny"
    verifier_seed: int = 0
    drafter_layers: int = 3
    rank: int = 64
    texts: int = 32
    length: int = 128
    sink: int = 4
    window: int = 8
    chunk: int = 64
    new_tokens: int = 16
    block: int = 8
    eval_rows: int = 4
    mlx_device: MlxDevice = "auto"

    def __post_init__(self) -> None:
        several = ("contexts", "seeds", "arms", "dtypes")
        problems = list_problems(self, several=several, bounds=_BOUNDS)
        if self.arms and self.arms[0] != "full":
            problems.append("$.config.arms: full comes first, others are compared with it")
        if self.reference == "torch" and (
            self.dtypes[:1] != ("float32",) or "stored" in self.dtypes
        ):
            problems.append("$.config.dtypes: torch is compared in float32 first, then bfloat16")
        refuse_problems(problems)


_BOUNDS: dict[str, tuple[int, int]] = {
    "samples": (1, 10_000),
    "drafter_layers": (1, 1000),
    "rank": (1, 8192),
    "texts": (1, 10_000),
    "length": (32, 1_000_000),
    "sink": (0, 4096),
    "window": (1, 1_000_000),
    "chunk": (1, 1_000_000),
    "new_tokens": (3, 1024),
    "block": (2, 256),
    "eval_rows": (1, 1024),
}
