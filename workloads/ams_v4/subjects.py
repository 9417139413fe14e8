"""The language model of a run: given weights, or a small one that is trained to recall facts."""

from __future__ import annotations

import random

import torch

from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.config import Config
from workloads.ams_v4.language import SyntheticLanguage, WordLanguage, draw_session
from workloads.shared import models
from workloads.shared.backbones import train_backbone
from workloads.shared.context import Context
from workloads.shared.curriculum import NARROW, Stage, make_batch
from workloads.shared.pace import Pace
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
    model = build_tiny("qwen3", seed=config.backbone_seed, layers=4, period=2).to(device)
    train_backbone(
        model, context, pace, seed=config.backbone_seed, scale=config.scale,
        share=config.sizes.backbone_steps, stages=STAGES, draw=make_rows,
    )  # fmt: skip
    return Backbone(model, SyntheticLanguage())


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
