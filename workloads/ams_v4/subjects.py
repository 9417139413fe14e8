"""The language model of a run: given weights, or a small one that is trained to recall facts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import torch

from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.config import Config
from workloads.ams_v4.language import SyntheticLanguage, WordLanguage, draw_session
from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.curriculum import (
    NARROW,
    Stage,
    Step,
    make_batch,
    train_on_needles,
)
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.shared.samples import Sample
from workloads.shared.synthetic import FILLERS, IGNORED
from workloads.shared.tiny_models import build_tiny

QUESTIONS = 4
LONGEST = 7  # tokens of a made-up fact, at most
STAGES = (
    Stage("copy-fixed-32", "fixed", 32, 64, 100, window=NARROW),
    Stage("copy-32", "copy", 32, 64, 250, window=NARROW),
    Stage("sessions-64", "sessions", 64, 32, 300, window=NARROW),
    Stage("sessions-128", "sessions", 128, 16, 150, rate=0.5),
    Stage("sessions-192", "sessions", 192, 12, 150, enough=0.99, rate=0.5),
)


def load_backbone(config: Config, context: Context, pace: Pace) -> Backbone:
    """The input `weights`; without it, a model that is trained here and frozen."""
    if "weights" in context.job.inputs:
        found = models.load(context.input("weights"), device=config.device, dtype=config.dtype)
        return Backbone(found.model, WordLanguage(found.tokenizer))
    device = models.choose_device(config.device)
    return Backbone(_train(config, context, pace, device), SyntheticLanguage())


def _train(config: Config, context: Context, pace: Pace, device: torch.device) -> Any:
    model = build_tiny("qwen3", seed=config.backbone_seed, layers=4, period=2).to(device)
    share = config.sizes.backbone_steps
    stages = tuple(replace(one, steps=max(1, round(one.steps * share))) for one in STAGES)
    planned = sum(stage.steps for stage in stages)
    pace.expect(planned)
    history: list[Step] = []

    def report(step: Step) -> None:
        history.append(step)
        pace.advance(f"language model, {step.stage}: {step.accuracy:.2f}")

    train_on_needles(
        model,
        seed=config.backbone_seed,
        stages=stages,
        half_precision=models.choose_dtype("auto", device) == torch.bfloat16,
        on_step=report,
        snapshot=context.checkpoint_dir / f"backbone-{config.scale}-{config.backbone_seed}.pt",
        draw=make_rows,
    )
    pace.expect(len(history) - planned)
    if not context.resume("backbone"):
        context.commit("backbone", _list_curve(config.backbone_seed, history))
    return model


def make_rows(source: random.Random, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (B, T) with facts and answered questions at their end, and labels (B, T)."""
    if stage.task != "sessions":
        return make_batch(source, stage)
    language = SyntheticLanguage()
    ids, labels = [], []
    for _ in range(stage.rows):
        most = (stage.length - QUESTIONS * LONGEST) // LONGEST
        told = draw_session(language, source, source.randint(2, most), held=False).facts
        row = [token for fact in told for token in fact.ids]
        asked = source.choices(told, k=QUESTIONS)
        tail = [token for fact in asked for token in (*fact.question, *fact.answer)]
        spare = stage.length - len(row) - len(tail)
        row = source.choices(FILLERS, k=spare) + row + tail
        marks = [IGNORED] * stage.length
        place = stage.length - len(tail)
        for fact in asked:
            place += len(fact.question)
            marks[place - 1] = fact.answer[0]
            place += len(fact.answer)
        ids.append(row)
        labels.append(marks)
    return torch.tensor(ids), torch.tensor(labels)


def _list_curve(seed: int, history: list[Step]) -> Entry:
    rows = tuple(
        Sample(
            arm="backbone", seed=seed, unit=f"step{index}", input="sha256:" + "0" * 64,
            measure="backbone_accuracy", score=step.accuracy,
            at={"step": index, "stage": step.stage}, t_ms=step.process_s * 1000,
        )
        for index, step in enumerate(history)
        if index % 10 == 0
    )  # fmt: skip
    counters = {"backbone.steps": len(history), "backbone.tokens": sum(s.tokens for s in history)}
    return Entry(rows, counters)
