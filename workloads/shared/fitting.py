"""Fitting a small part below or beside a frozen model: the loop that such trainings share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from workloads.shared.schedules import warm_cosine
from workloads.shared.snapshots import read_snapshot, write_snapshot

WEIGHT_DECAY = 0.01
CLIP = 1.0
WARMUP_SHARE = 0.05
SNAPSHOT_EVERY = 100

Measure = Callable[[random.Random], tuple[torch.Tensor, float]]


@dataclass(frozen=True, slots=True)
class FitStep:
    """What one step came to.

    Attributes:
        step: from 0.
        loss: before the step.
        accuracy: the share of predicted tokens that were right; NaN where none is predicted.
        gradient: the gradient's norm before clipping.
        t_ms: wall time.
    """

    step: int
    loss: float
    accuracy: float
    gradient: float
    t_ms: float


def run_fit(
    modules: Mapping[str, Any],
    trained: Sequence[torch.nn.Parameter],
    measure: Measure,
    *,
    steps: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    draws: str,
    snapshot: Path | None = None,
    on_step: Callable[[FitStep], None] | None = None,
) -> list[FitStep]:
    """Train in place; every step is returned, those of a former attempt too.

    AdamW, linear warm-up and a cosine to a hundredth, gradients clipped at 1. Every hundredth step
    is written to `snapshot`, and gone on from.

    Args:
        modules: by name, what a snapshot holds beside the optimizer.
        trained: the parameters that are trained.
        measure: loss and accuracy of a step, with what it draws from the source that it is given.
        steps: of the whole training.
        rate: peak learning rate.
        betas: of AdamW.
        draws: names the sources of random numbers, its seed included.
        snapshot: where a requeued attempt goes on from.
        on_step: called after every step, and for those that the snapshot holds.
    """
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=betas, weight_decay=WEIGHT_DECAY)
    kept: dict[str, Any] = {**modules, "optimizer": optimizer}
    history = _go_on(kept, snapshot, trained[0].device)
    for known in history if on_step else ():
        on_step(known)  # type: ignore[misc]
    warmup = max(1, round(WARMUP_SHARE * steps))
    for step in range(len(history), steps):
        started_s = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * warm_cosine(step, steps, warmup=warmup)
        # A source of its own for each step, so that a run that goes on draws the same again.
        source = random.Random(f"{draws} {step}")  # noqa: S311  (a seed, not a secret)
        loss, accuracy = measure(source)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        scores = float(loss.detach()), accuracy, float(gradient)
        history.append(FitStep(step, *scores, (time.perf_counter() - started_s) * 1000))
        if on_step is not None:
            on_step(history[-1])
        if snapshot is not None and ((step + 1) % SNAPSHOT_EVERY == 0 or step + 1 == steps):
            state: dict[str, Any] = {name: one.state_dict() for name, one in kept.items()}
            write_snapshot(snapshot, state | {"history": [list(astuple(one)) for one in history]})
    return history


def _go_on(kept: Mapping[str, Any], snapshot: Path | None, device: torch.device) -> list[FitStep]:
    """The steps that a snapshot holds, with everything that is kept set as it was then."""
    found = read_snapshot(snapshot, device) if snapshot else None
    if found is None:
        return []
    for name, one in kept.items():
        one.load_state_dict(found[name])
    return [FitStep(*row) for row in found["history"]]
