"""Training of f_theta, and of the drafter below it where that is asked for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from workloads.restoration.losses import LOSSES, LossName
from workloads.shared.fitting import FitStep, run_fit
from workloads.shared.restored.closed_form import places
from workloads.shared.restored.projection import FThetaProjection
from workloads.shared.restored.sources import Drafter
from workloads.shared.restored.targets import Targets, Teacher, measure_relative_errors


def fit(
    teacher: Teacher,
    drafter: Drafter,
    projection: FThetaProjection,
    batches: Sequence[Targets],
    *,
    loss: LossName,
    steps: int,
    rate: float,
    seed: int,
    aligned: bool,
    snapshot: Path | None = None,
    on_step: Callable[[FitStep], None] | None = None,
) -> list[FitStep]:
    """Train `projection` in place on `batches`, drawn with replacement; returns every step.

    With `aligned` the drafter's weights are trained too, through the projection. See `run_fit` for
    the loop.
    """
    trained = list(projection.parameters())
    drafter.forget()
    if aligned:
        trained += list(drafter.model.parameters())
    else:
        with torch.no_grad():
            features = [drafter.read(batch.ids, places(batch.ids)) for batch in batches]

    def measure(source: random.Random) -> tuple[torch.Tensor, float]:
        chosen = source.randrange(len(batches))
        batch = batches[chosen]
        read = drafter.read(batch.ids, places(batch.ids)) if aligned else features[chosen]
        return LOSSES[loss](teacher, batch, projection(*read)), math.nan

    return run_fit(
        {"projection": projection, "drafter": drafter.model}, trained, measure, steps=steps,
        rate=rate, draws=f"f_theta/1 {seed}", snapshot=snapshot, on_step=on_step,
    )  # fmt: skip


@torch.no_grad()  # type: ignore[untyped-decorator]
def judge(
    teacher: Teacher, drafter: Drafter, projection: FThetaProjection, batches: Sequence[Targets]
) -> dict[int, dict[str, float]]:
    """Relative squared errors by layer over `batches`: k_raw, v_raw, k_norm, v_norm."""
    drafter.forget()
    sums: dict[int, dict[str, list[float]]] = {}
    for batch in batches:
        predicted = projection(*drafter.read(batch.ids, places(batch.ids)))
        found = measure_relative_errors(teacher.layers, batch, predicted)
        for layer, parts in found.items():
            for name, (error, truth) in parts.items():
                total = sums.setdefault(layer, {}).setdefault(name, [0.0, 0.0])
                total[0] += error
                total[1] += truth
    return {
        layer: {name: error / truth for name, (error, truth) in parts.items()}
        for layer, parts in sums.items()
    }
