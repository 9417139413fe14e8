"""What a run of K/V storage is told."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import UsageError
from workloads.kvquant.codecs import CodecName
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
        problems = []
        for name in ("contexts", "seeds", "arms"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                problems.append(f"$.config.{name}: at least one value, each once")
        for name, high in (("samples", 10_000), ("eval_rows", 1024), ("new_tokens", 256)):
            if not 1 <= getattr(self, name) <= high:
                problems.append(f"$.config.{name}: outside 1 to {high}")
        if problems:
            raise UsageError("the config does not fit", problems=tuple(problems))
