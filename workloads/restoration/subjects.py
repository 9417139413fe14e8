"""The verifier, its task, the drafter and the projection of one run: made, or read from disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bridge.errors import UsageError
from workloads.restoration.config import Config
from workloads.restoration.drafters import truncate
from workloads.restoration.fitting import FitStep, fit, fit_ridge
from workloads.restoration.losses import LossName
from workloads.restoration.projection import FThetaConfig, FThetaProjection
from workloads.restoration.sources import Drafter
from workloads.restoration.targets import Targets, Teacher
from workloads.restoration.tasks import EssayTask, SyntheticTask, Task
from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.curriculum import CI_STAGES, STAGES, Step, train_on_needles
from workloads.shared.journal import Entry
from workloads.shared.needles import Haystack
from workloads.shared.samples import Sample
from workloads.shared.tiny_models import build_tiny

CURVE_EVERY = 10
NO_INPUT = "sha256:" + "0" * 64
SCALES: dict[str, dict[str, Any]] = {
    # Five sliding layers to one of full attention with a single K/V head.
    "tiny": {"layers": 6, "period": 6, "kv_heads": 4, "global_kv_heads": 1, "global_head_dim": 64},
    "ci": {"layers": 4, "period": 2, "kv_heads": 2, "global_kv_heads": 2, "global_head_dim": 32},
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The verifier, frozen, and what it is asked."""

    model: Any
    task: Task
    teacher: Teacher
    device: torch.device


def load_subject(config: Config, context: Context) -> Subject:
    """The verifier: the input `weights` with `essays`, or a small one that is trained here."""
    if "weights" in context.job.inputs:
        language = models.load(context.input("weights"), device=config.device, dtype=config.dtype)
        haystack = Haystack.read(language.tokenizer, context.input("essays"))
        task: Task = EssayTask(language.tokenizer, haystack, new_tokens=config.new_tokens)
        model, device = language.model, language.device
    else:
        device = models.choose_device(config.device)
        model, task = _train_verifier(config, context, device), SyntheticTask()
    model.eval().requires_grad_(False)
    return Subject(model, task, Teacher(model), device)


def _train_verifier(config: Config, context: Context, device: torch.device) -> Any:
    model = build_tiny("gemma4", seed=config.verifier_seed, **SCALES[config.scale]).to(device)
    path = context.checkpoint_dir / "verifier.safetensors"
    done = context.resume("verifier")
    if done and path.exists():
        model.load_state_dict(load_file(path), strict=False)  # tied weights are stored once
        return model
    stages = STAGES if config.scale == "tiny" else CI_STAGES
    total = sum(stage.steps for stage in stages)
    history: list[Step] = []

    def report(step: Step) -> None:
        history.append(step)
        context.progress(len(history), total, f"verifier {step.stage} {step.accuracy:.2f}")

    train_on_needles(
        model, seed=config.verifier_seed, stages=stages, on_step=report,
        half_precision=models.choose_dtype("auto", device) == torch.bfloat16,
    )  # fmt: skip
    _save_tensors(model.state_dict(), path)
    if not done:
        context.commit("verifier", Entry(tuple(_list_curve(config, history)), _count(history)))
    return model


def _list_curve(config: Config, history: list[Step]) -> list[Sample]:
    return [
        Sample(
            arm="verifier", seed=config.verifier_seed, unit=f"step{index}", input=NO_INPUT,
            measure=measure, score=score, at={"step": index, "stage": step.stage},
        )
        for index, step in enumerate(history)
        if index % CURVE_EVERY == 0
        for measure, score in (
            ("verifier_loss", step.loss),
            ("verifier_accuracy", step.accuracy),
        )
    ]  # fmt: skip


def _count(history: list[Step]) -> dict[str, float]:
    return {
        "verifier.steps": len(history),
        "verifier.tokens": sum(step.tokens for step in history),
        "verifier.process_s": round(sum(step.process_s for step in history), 3),
    }


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
    """A trained projection with its drafter; no history where it was read from disk."""

    drafter: Drafter
    projection: FThetaProjection
    history: list[FitStep]


def make_projection(
    config: Config,
    context: Context,
    subject: Subject,
    batches: list[Targets],
    *,
    loss: LossName,
    seed: int,
) -> Fitted:
    """The projection of one loss and seed: from the checkpoint folder, else trained."""
    drafter = make_drafter(config, context, subject, seed)
    folder = context.checkpoint_dir / f"fit-{loss}-s{seed}"
    weights = folder / "drafter.safetensors"
    if weights.exists():
        drafter.model.load_state_dict(load_file(weights), strict=False)
        return Fitted(drafter, FThetaProjection.load(folder).to(subject.device), [])
    projection = _start(config, context, subject, drafter, batches, seed)

    def report(step: FitStep) -> None:
        context.progress(step.step + 1, config.steps, f"f_theta {loss} s{seed} {step.loss:.3f}")

    history = fit(
        subject.teacher, drafter, projection, batches,
        loss=loss, steps=config.steps, rate=config.rate, seed=seed,
        aligned=config.drafter == "aligned", on_step=report,
    )  # fmt: skip
    projection.save(folder)
    # Written last: a folder with it is whole. A frozen drafter is made again instead.
    kept = drafter.model.state_dict() if config.drafter == "aligned" else {}
    _save_tensors(kept, weights)
    return Fitted(drafter, projection, history)


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


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    # Tied weights share storage, which the format refuses: each is stored once, by its first name.
    seen: set[int] = set()
    kept = {}
    for name, tensor in tensors.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    save_file(kept, temporary)
    os.replace(temporary, path)
