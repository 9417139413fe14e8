"""What a run of K/V storage is told."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.kvquant.codecs import CodecName
from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.models import Device, Dtype
from workloads.shared.verifiers import Scale


@dataclass(frozen=True, slots=True)
class Config:
    """The grid and the model's settings.

    Attributes:
        contexts: prompt lengths in tokens.
        seeds: each draws its own problems.
        samples: problems for each context and seed.
        arms: the ways of storing; each runs on each problem.
        scale: the size of a model that is trained here; unused where weights are given.
        verifier_seed: of that model.
        eval_rows: problems in one batch.
        new_tokens: decoded for an essay question.
        device: where to compute.
        dtype: of given weights and of K/V before they are stored.
    """

    contexts: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    samples: int = 8
    arms: tuple[CodecName, ...] = ("identity", "affine8", "affine6", "affine4", "d4", "e8")
    scale: Scale = "tiny"
    verifier_seed: int = 0
    eval_rows: int = 4
    new_tokens: int = 8
    device: Device = "auto"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        bounds = {"samples": (1, 10_000), "eval_rows": (1, 1024), "new_tokens": (1, 256)}
        several = ("contexts", "seeds", "arms")
        refuse_problems(list_problems(self, several=several, bounds=bounds))
