"""The drafter and the projection of one run: made, or read from disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bridge.errors import UsageError
from workloads.restoration.config import Config
from workloads.restoration.fitting import fit
from workloads.restoration.losses import LossName
from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.fitting import FitStep
from workloads.shared.job import digest_config
from workloads.shared.pace import Pace
from workloads.shared.restored.closed_form import fit_ridge
from workloads.shared.restored.drafters import truncate
from workloads.shared.restored.projection import FThetaConfig, FThetaProjection
from workloads.shared.restored.sources import Drafter
from workloads.shared.restored.targets import Targets, Teacher
from workloads.shared.tasks import Task
from workloads.shared.tiny_models import build_tiny
from workloads.shared.verifiers import load_verifier


@dataclass(frozen=True, slots=True)
class Subject:
    """The verifier, frozen, and what it is asked."""

    model: Any
    task: Task
    teacher: Teacher
    device: torch.device


def load_subject(config: Config, context: Context, pace: Pace) -> Subject:
    """The verifier that the job gives, or one that is trained here."""
    found = load_verifier(
        context,
        pace,
        scale=config.scale,
        seed=config.verifier_seed,
        device=config.device,
        dtype=config.dtype,
        new_tokens=config.new_tokens,
    )
    return Subject(found.model, found.task, Teacher(found.model), found.device)


def make_drafter(config: Config, context: Context, subject: Subject, seed: int) -> Drafter:
    """The drafter of one seed, as the config names it."""
    if config.drafter == "truncated":
        return Drafter(truncate(subject.model, config.drafter_layers))
    if config.drafter == "given":
        given = models.load(context.input("drafter"), device=config.device, dtype=config.dtype)
        return Drafter(given.model.requires_grad_(False))
    model = build_tiny(
        "qwen3",
        seed=1000 + seed,
        hidden=config.drafter_hidden,
        layers=config.drafter_layers,
        period=config.drafter_layers + 1,
        window=config.drafter_window,
        kv_heads=2,
        vocabulary=subject.model.config.get_text_config(decoder=True).vocab_size,
    )
    return Drafter(model.to(subject.device, subject.model.dtype).eval())


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained projection with its drafter, and every step of its training."""

    drafter: Drafter
    projection: FThetaProjection
    history: list[FitStep]


def make_projection(
    config: Config,
    context: Context,
    pace: Pace | None,
    subject: Subject,
    batches: list[Targets],
    *,
    loss: LossName,
    seed: int,
) -> Fitted:
    """The projection of one loss and seed: from the checkpoint folder, else trained.

    `pace` counts its steps, where nobody else does.
    """
    drafter = make_drafter(config, context, subject, seed)
    projection = _start(config, context, subject, drafter, batches, seed)

    def report(step: FitStep) -> None:
        if pace is not None:
            pace.advance(f"f_theta {loss} seed {seed}: {step.loss:.3f}")

    history = fit(
        subject.teacher,
        drafter,
        projection,
        batches,
        loss=loss,
        steps=config.steps,
        rate=config.rate,
        seed=seed,
        aligned=config.drafter == "aligned",
        snapshot=_find_snapshot(config, context, loss, seed),
        on_step=report,
    )
    return Fitted(drafter, projection, history)


def _find_snapshot(config: Config, context: Context, loss: LossName, seed: int) -> Path:
    """Of this config alone: what another one trained is never gone on from."""
    name = digest_config(config).removeprefix("sha256:")[:16]
    return context.checkpoint_dir / name / f"{loss}-s{seed}.pt"


def _start(
    config: Config,
    context: Context,
    subject: Subject,
    drafter: Drafter,
    batches: list[Targets],
    seed: int,
) -> FThetaProjection:
    widths = {layer.index: layer.width for layer in subject.teacher.owners}
    shape = FThetaConfig(drafter.features, config.rank, widths)
    if config.warm_start == "given":
        found = FThetaProjection.load(context.input("projection"))
        if found.config != shape:
            raise UsageError(
                f"the projection is {found.config}, {shape} is needed", where="$.inputs.projection"
            )
    elif config.warm_start == "ridge":
        found = fit_ridge(subject.teacher, drafter, batches, rank=config.rank)
    else:
        found = FThetaProjection(shape, seed=seed)
    moved: FThetaProjection = found.to(subject.device, subject.model.dtype)
    return moved
