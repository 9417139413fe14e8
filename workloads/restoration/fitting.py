"""Training of f_theta, and of the drafter below it where that is asked for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from workloads.restoration.losses import LOSSES, LossName
from workloads.shared.restored.closed_form import places
from workloads.shared.restored.projection import FThetaProjection
from workloads.shared.restored.sources import Drafter
from workloads.shared.restored.targets import Targets, Teacher, measure_relative_errors
from workloads.shared.schedules import warm_cosine
from workloads.shared.snapshots import read_snapshot, write_snapshot

WEIGHT_DECAY = 0.01
CLIP = 1.0
WARMUP_SHARE = 0.05
SNAPSHOT_EVERY = 100


@dataclass(frozen=True, slots=True)
class FitStep:
    """One step: its loss, the norm of its gradient before clipping, its wall time."""

    step: int
    loss: float
    gradient: float
    t_ms: float


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

    AdamW, linear warm-up and a cosine to a hundredth, gradients clipped at 1. With `aligned` the
    drafter's weights are trained too, through the projection. Every hundredth step is written to
    `snapshot`, and gone on from.
    """
    trained: list[Any] = list(projection.parameters())
    drafter.forget()
    if aligned:
        trained += list(drafter.model.parameters())
    else:
        with torch.no_grad():
            features = [drafter.read(batch.ids, places(batch.ids)) for batch in batches]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=WEIGHT_DECAY)
    warmup = max(1, round(WARMUP_SHARE * steps))
    history: list[FitStep] = []
    modules = {"projection": projection, "drafter": drafter.model, "optimizer": optimizer}
    found = read_snapshot(snapshot, batches[0].ids.device) if snapshot else None
    if found is not None:
        for name, module in modules.items():
            module.load_state_dict(found[name])
        history = [FitStep(*row) for row in found["history"]]
        for known in history if on_step else ():
            on_step(known)  # type: ignore[misc]
    for step in range(len(history), steps):
        started_s = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * warm_cosine(step, steps, warmup=warmup)
        # A source of its own for each step, so that a run that goes on draws the same batches.
        source = random.Random(f"f_theta/1 {seed} {step}")  # noqa: S311  (a seed, not a secret)
        chosen = source.randrange(len(batches))
        batch = batches[chosen]
        read = drafter.read(batch.ids, places(batch.ids)) if aligned else features[chosen]
        value = LOSSES[loss](teacher, batch, projection(*read))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        gradient = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        scores = float(value.detach()), float(gradient)
        history.append(FitStep(step, *scores, (time.perf_counter() - started_s) * 1000))
        if on_step is not None:
            on_step(history[-1])
        if snapshot is not None and ((step + 1) % SNAPSHOT_EVERY == 0 or step + 1 == steps):
            state: dict[str, Any] = {name: one.state_dict() for name, one in modules.items()}
            write_snapshot(snapshot, state | {"history": [list(astuple(one)) for one in history]})
    return history


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
