"""What a run of restoration is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.restoration.losses import LossName
from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.models import Device, Dtype
from workloads.shared.restored.arms import ArmName
from workloads.shared.verifiers import Scale

DrafterKind = Literal["aligned", "truncated", "given"]


@dataclass(frozen=True, slots=True)
class Config:
    """The verifier, the drafter, the projection's training, and what is measured.

    Attributes:
        contexts: prompt lengths in tokens.
        seeds: each draws its own problems, training texts, drafter and projection.
        samples: problems for each context and seed.
        arms: what runs on each problem.
        losses: each trains a projection for each seed; the first one's is used in the arms.
        alphas: shares of the verifier's own K/V in the mixing sweep, at the shortest context.
        scale: the size of a verifier that is trained here; unused where weights are given.
        verifier_seed: of that verifier.
        drafter: `aligned` is a new model trained below the projection, `truncated` the
            verifier's first layers, `given` the input `drafter`; the last two stay frozen.
        drafter_layers: of an aligned or truncated drafter.
        drafter_hidden: width of an aligned drafter; `drafter_window` its sliding window.
        rank: of the projection's latents.
        warm_start: `ridge` starts from the closed form, `given` from the input `projection`.
        steps: of each projection's training; `rate` its peak learning rate.
        batches: training batches of `rows` texts of `length` tokens.
        sink: first positions kept; `window`: last ones, the query's own included.
        exact_layers: what `partial` keeps exact.
        chunk: prompt positions in one forward.
        eval_rows: problems in one batch.
        new_tokens: decoded for an essay question.
        device: where to compute.
        dtype: of given weights and their K/V.
    """

    contexts: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    samples: int = 8
    arms: tuple[ArmName, ...] = ("full", "identity", "sink_window", "projected")
    losses: tuple[LossName, ...] = ("attn_distill_hybrid",)
    alphas: tuple[float, ...] = ()
    scale: Scale = "tiny"
    verifier_seed: int = 0
    drafter: DrafterKind = "aligned"
    drafter_layers: int = 3
    drafter_hidden: int = 64
    drafter_window: int = 32
    rank: int = 64
    warm_start: Literal["none", "ridge", "given"] = "none"
    steps: int = 600
    rate: float = 3e-3
    batches: int = 24
    rows: int = 8
    length: int = 256
    sink: int = 4
    window: int = 8
    exact_layers: tuple[int, ...] = ()
    chunk: int = 256
    eval_rows: int = 8
    new_tokens: int = 8
    device: Device = "auto"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        several = ("contexts", "seeds", "arms", "losses")
        problems = list_problems(self, several=several, bounds=_BOUNDS)
        if self.warm_start == "ridge" and self.drafter == "aligned":
            problems.append("$.config.warm_start: ridge needs a drafter that stays frozen")
        refuse_problems(problems)


_BOUNDS: dict[str, tuple[float, float]] = {
    "samples": (1, 10_000),
    "drafter_layers": (1, 1000),
    "drafter_hidden": (32, 4096),
    "drafter_window": (2, 1_000_000),
    "rank": (1, 8192),
    "steps": (0, 1_000_000),
    "rate": (0, 1),
    "batches": (1, 100_000),
    "rows": (1, 1024),
    "length": (32, 1_000_000),
    "sink": (0, 4096),
    "window": (1, 1_000_000),
    "chunk": (1, 1_000_000),
    "eval_rows": (1, 1024),
    "new_tokens": (1, 256),
    "alphas": (0, 1),
}
