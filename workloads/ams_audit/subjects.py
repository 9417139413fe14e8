"""The language model of a run: given weights, or a small one that is trained on four domains."""

from __future__ import annotations

import random

import torch

from workloads.ams_audit.config import Config
from workloads.ams_audit.lexicon import DOMAINS, OPENINGS, tell
from workloads.ams_audit.tokens import Vocabulary
from workloads.shared import models
from workloads.shared.backbones import train_backbone
from workloads.shared.context import Context
from workloads.shared.curriculum import Stage
from workloads.shared.frozen import FrozenModel
from workloads.shared.pace import Pace
from workloads.shared.tiny_models import build_tiny

# the copying stages of the needles' curriculum are not needed: a topic is seen all over the row
STAGES = (Stage("topics-64", "topics", 64, 16, 240, enough=0.67),)


def load_subject(config: Config, context: Context, pace: Pace) -> tuple[FrozenModel, Vocabulary]:
    """The input `weights`; without it, a model that is trained here and frozen."""
    if "weights" in context.job.inputs:
        found = models.load(context.input("weights"), device=config.device, dtype=config.dtype)
        size = found.model.get_input_embeddings().weight.shape[0]
        vocabulary = Vocabulary.of_tokenizer(found.tokenizer, int(size))
        return FrozenModel(found.model, _weigh(vocabulary)), vocabulary
    vocabulary = Vocabulary.of_words()
    device = models.choose_device(config.device)
    # two K/V heads for four: what M2 takes over must be tiled, as in the source
    model = build_tiny(
        "qwen3", seed=config.backbone_seed, layers=4, period=2, kv_heads=2,
        vocabulary=vocabulary.size,
    ).to(device)  # fmt: skip

    def draw(source: random.Random, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
        return make_rows(vocabulary, source, stage)

    train_backbone(
        model, context, pace, seed=config.backbone_seed, scale=config.scale,
        share=config.sizes.backbone_steps, stages=STAGES, draw=draw,
    )  # fmt: skip
    return FrozenModel(model, _weigh(vocabulary)), vocabulary


def _weigh(vocabulary: Vocabulary) -> torch.Tensor:
    return vocabulary.starters.float()


def make_rows(
    vocabulary: Vocabulary, source: random.Random, stage: Stage
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (B, T) of one domain each, and labels (B, T): the token that follows."""
    rows = []
    for _ in range(stage.rows):
        domain = DOMAINS[source.choice(list(DOMAINS))]
        row: list[int] = []
        start = source.randrange(8)  # rows begin anywhere in a sentence
        while len(row) <= start + stage.length:
            row += vocabulary.encode(_write(source, tell(source, domain).text))
        rows.append(row[start : start + stage.length + 1])
    whole = torch.tensor(rows)
    return whole[:, :-1], whole[:, 1:]


def _write(source: random.Random, text: str) -> str:
    """A sentence behind nothing, or behind an opening, with its first article or without."""
    if source.random() < 0.5:
        return text
    if source.random() < 0.5:
        text = text.removeprefix("the ")
    return f"{source.choice(OPENINGS)} {text}"
