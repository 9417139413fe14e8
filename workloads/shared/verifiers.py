"""The verifier of a run and what it is asked: real weights and essays, or a model trained here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.curriculum import CI_STAGES, STAGES, Step, train_on_needles
from workloads.shared.journal import Entry
from workloads.shared.models import Device, Dtype
from workloads.shared.needles import Haystack
from workloads.shared.pace import Pace
from workloads.shared.samples import Sample
from workloads.shared.tasks import EssayTask, SyntheticTask, Task
from workloads.shared.tiny_models import build_tiny

Scale = Literal["ci", "tiny"]
CURVE_EVERY = 10
NO_INPUT = "sha256:" + "0" * 64
SCALES: dict[str, dict[str, Any]] = {
    # Five sliding layers to one of full attention with a single K/V head.
    "tiny": {"layers": 6, "period": 6, "kv_heads": 4, "global_kv_heads": 1, "global_head_dim": 64},
    "ci": {"layers": 4, "period": 2, "kv_heads": 2, "global_kv_heads": 2, "global_head_dim": 32},
}


@dataclass(frozen=True, slots=True)
class Verifier:
    """A frozen model and what it is asked."""

    model: Any
    task: Task
    device: torch.device


def load_verifier(
    context: Context,
    pace: Pace,
    *,
    scale: Scale,
    seed: int,
    device: Device,
    dtype: Dtype,
    new_tokens: int,
) -> Verifier:
    """The input `weights` with `essays`; without that input, a small model that is trained here.

    Args:
        context: of the job; the trained model is kept in its checkpoint folder.
        pace: counts the steps of training.
        scale: size of the model that is trained.
        seed: of its weights and training rows.
        device: where to compute.
        dtype: of given weights.
        new_tokens: that answer a question about the essays.
    """
    if "weights" in context.job.inputs:
        language = models.load(context.input("weights"), device=device, dtype=dtype)
        haystack = Haystack.read(language.tokenizer, context.input("essays"))
        task: Task = EssayTask(language.tokenizer, haystack, new_tokens=new_tokens)
        return _freeze(language.model, task, language.device)
    chosen = models.choose_device(device)
    return _freeze(_train(context, pace, scale, seed, chosen), SyntheticTask(), chosen)


def _freeze(model: Any, task: Task, device: torch.device) -> Verifier:
    return Verifier(model.eval().requires_grad_(False), task, device)


def _train(context: Context, pace: Pace, scale: Scale, seed: int, device: torch.device) -> Any:
    model = build_tiny("gemma4", seed=seed, **SCALES[scale]).to(device)
    stages = STAGES if scale == "tiny" else CI_STAGES
    planned = sum(stage.steps for stage in stages)
    pace.expect(planned)
    history: list[Step] = []

    def report(step: Step) -> None:
        history.append(step)
        pace.advance(f"verifier {step.stage} {step.accuracy:.2f}")

    half = models.choose_dtype("auto", device) == torch.bfloat16
    train_on_needles(
        model,
        seed=seed,
        stages=stages,
        on_step=report,
        half_precision=half,
        snapshot=context.checkpoint_dir / f"verifier-{scale}-{seed}.pt",
    )
    pace.expect(len(history) - planned)
    if not context.resume("verifier"):
        context.commit("verifier", Entry(tuple(_list_curve(seed, history)), _count(history)))
    return model


def _list_curve(seed: int, history: list[Step]) -> list[Sample]:
    return [
        Sample(
            arm="verifier", seed=seed, unit=f"step{index}", input=NO_INPUT,
            measure=measure, score=score, at={"step": index, "stage": step.stage},
            t_ms=step.process_s * 1000,
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
