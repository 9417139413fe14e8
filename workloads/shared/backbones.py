"""Training the small language model that a memory is put before, where no weights are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.curriculum import Draw, Stage, Step, train_on_needles
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.shared.samples import Sample

NO_INPUT = "sha256:" + "0" * 64
CURVE_EVERY = 10


def train_backbone(
    model: Any,
    context: Context,
    pace: Pace,
    *,
    seed: int,
    scale: str,
    share: float,
    stages: tuple[Stage, ...],
    draw: Draw,
) -> Any:
    """`model` after the stages, or as a former attempt left it; its curve is committed once.

    Args:
        model: of a small language, on its device.
        context: whose checkpoint folder keeps the model.
        pace: counts the steps.
        seed: of the rows.
        scale: names the snapshot.
        share: factor on the steps of every stage.
        stages: the curriculum.
        draw: makes the rows of a stage.
    """
    stages = tuple(replace(one, steps=max(1, round(one.steps * share))) for one in stages)
    planned = sum(stage.steps for stage in stages)
    pace.expect(planned)
    history: list[Step] = []

    def report(step: Step) -> None:
        history.append(step)
        pace.advance(f"language model, {step.stage}: {step.accuracy:.2f}")

    device = next(model.parameters()).device
    train_on_needles(
        model,
        seed=seed,
        stages=stages,
        half_precision=models.choose_dtype("auto", device) == torch.bfloat16,
        on_step=report,
        snapshot=context.checkpoint_dir / f"backbone-{scale}-{seed}.pt",
        draw=draw,
    )
    pace.expect(len(history) - planned)
    if not context.resume("backbone"):
        context.commit("backbone", _list_curve(seed, history))
    return model


def _list_curve(seed: int, history: list[Step]) -> Entry:
    rows = tuple(
        Sample(
            arm="backbone", seed=seed, unit=f"step{index}", input=NO_INPUT,
            measure="backbone_accuracy", score=step.accuracy,
            at={"step": index, "stage": step.stage}, t_ms=step.process_s * 1000,
        )
        for index, step in enumerate(history)
        if index % CURVE_EVERY == 0
    )  # fmt: skip
    counters = {"backbone.steps": len(history), "backbone.tokens": sum(s.tokens for s in history)}
    return Entry(rows, counters)
