"""The verifier, the drafter and the assistant of a run: made here, or read from disk."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.curriculum import Stage, Step, train_on_needles
from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.fitting import FitStep
from workloads.shared.job import digest_config
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.shared.samples import Sample
from workloads.shared.synthetic import IGNORED
from workloads.shared.tiny_models import build_tiny
from workloads.shared.verifiers import NO_INPUT
from workloads.specdecode import boilerplate
from workloads.specdecode.config import Config
from workloads.specdecode.fitting import Text, fit, write_text
from workloads.specdecode.prompts import Prompts, Seen, load_prompts, stack

CURVE_EVERY = 10
CORPUS = 1024  # texts that a verifier is trained on, again and again
SIZES: dict[str, dict[str, Any]] = {
    # Two sliding layers to one of full attention; a prompt is longer than the window.
    "tiny": {"hidden": 192, "layers": 6, "period": 3, "window": 64, "kv_heads": 2},
    "ci": {"hidden": 64, "layers": 3, "period": 3, "window": 24, "kv_heads": 2},
}
ASSISTANT = {"hidden": 128, "layers": 2, "period": 1, "kv_heads": 2}
ROWS = {"tiny": (16, 192), "ci": (8, 96)}  # texts in a batch, and their tokens


@dataclass(frozen=True, slots=True)
class Subject:
    """What decodes.

    Attributes:
        model: the verifier, frozen.
        assistant: a small autoregressive model of the same tokens, or None.
        prompts: what is decoded.
        seen: n-grams of the verifier's own training texts; none are known for given weights.
        device: where all of it is.
    """

    model: Any
    assistant: Any | None
    prompts: Prompts
    seen: frozenset[int]
    device: torch.device


def load_subject(config: Config, context: Context, pace: Pace) -> Subject:
    """The input `weights`, prompts from `humaneval` and `essays`; else what is trained here."""
    if "weights" in context.job.inputs:
        language = models.load(context.input("weights"), device=config.device, dtype=config.dtype)
        assistant = None
        if "assistant" in context.job.inputs:
            path = context.input("assistant")
            assistant = models.load(path, device=config.device, dtype=config.dtype).model
        prompts = load_prompts(context, language.tokenizer)
        return Subject(
            _freeze(language.model), _freeze(assistant), prompts, frozenset(), language.device
        )
    device = models.choose_device(config.device)
    corpus = make_corpus(config)
    verifier = _train(config, context, pace, corpus, "verifier", device)
    assistant = None
    if config.assistant_steps and "assisted" in config.arms:
        assistant = _train(config, context, pace, corpus, "assistant", device)
    return Subject(
        _freeze(verifier), _freeze(assistant), load_prompts(context, None),
        Seen.collect(corpus).grams, device,
    )  # fmt: skip


def _freeze(model: Any) -> Any:
    """Ready for inference; nothing ends a text, so that all arms decode as many tokens."""
    if model is None:
        return None
    model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=None)
    return model.eval().requires_grad_(False)


def make_corpus(config: Config) -> list[list[int]]:
    """The texts that verifier and assistant are trained on."""
    source = random.Random(f"boilerplate/1 corpus {config.verifier_seed}")  # noqa: S311  (a seed)
    length = ROWS[config.scale][1]
    return [boilerplate.make_text(source, length) for _ in range(CORPUS)]


def _train(
    config: Config,
    context: Context,
    pace: Pace,
    corpus: list[list[int]],
    name: str,
    device: torch.device,
) -> Any:
    sizes = SIZES[config.scale] if name == "verifier" else ASSISTANT
    steps = config.verifier_steps if name == "verifier" else config.assistant_steps
    model = build_tiny(
        "qwen3", seed=config.verifier_seed, vocabulary=boilerplate.VOCABULARY, **sizes
    ).to(device)
    rows, length = ROWS[config.scale]
    stages = tuple(
        Stage(f"{name}-{part}", "copy", length, rows, max(1, round(share * steps)), 2.0, rate=rate)
        for part, share, rate in (("whole", 0.7, 1.0), ("half", 0.2, 0.4), ("last", 0.1, 0.1))
    )
    pace.expect(sum(stage.steps for stage in stages))
    history: list[Step] = []

    def report(step: Step) -> None:
        history.append(step)
        pace.advance(f"{step.stage}: {step.accuracy:.2f}")

    def draw(source: random.Random, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.tensor(source.choices(corpus, k=stage.rows))
        labels = torch.full_like(ids, IGNORED)
        labels[:, :-1] = ids[:, 1:]
        return ids, labels

    identity = f"{config.scale}-{config.verifier_seed}-{steps}"
    train_on_needles(
        model, seed=config.verifier_seed, rate=3e-3, half_precision=False, stages=stages,
        on_step=report, snapshot=context.checkpoint_dir / f"{name}-{identity}.pt", draw=draw,
    )  # fmt: skip
    if not context.resume(name):
        context.commit(name, Entry(tuple(_list_training(config, name, history))))
    return model


def _list_training(config: Config, name: str, history: list[Step]) -> list[Sample]:
    return [
        Sample(
            arm=name, seed=config.verifier_seed, unit=f"step{index}", input=NO_INPUT,
            measure="training_loss", score=sum(one.loss for one in part) / len(part),
            at={"step": index + len(part)}, t_ms=sum(one.process_s for one in part) * 1000,
        )
        for index in range(0, len(history), CURVE_EVERY)
        if (part := history[index : index + CURVE_EVERY])
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fitted:
    """A drafter, the steps of its training, and the n-grams of what it and the verifier saw."""

    drafter: BlockDrafter
    history: list[FitStep]
    seen: Seen


def make_drafter(
    config: Config, context: Context, pace: Pace, subject: Subject, seed: int
) -> Fitted:
    """The input `drafter`, or one that is trained for a seed, from the checkpoint folder else."""
    model = subject.model
    if "drafter" in context.job.inputs:
        given = BlockDrafter.load(context.input("drafter")).to(subject.device, model.dtype)
        return Fitted(given.eval().requires_grad_(False), [], Seen(subject.seen))
    drafter = BlockDrafter(_shape(config, model), seed=seed).to(subject.device)
    texts = _write_texts(config, pace, subject, drafter, seed)
    written = Seen.collect([row for text in texts for row in text.ids.tolist()])

    def report(step: FitStep) -> None:
        pace.advance(f"drafter seed {seed}: {step.accuracy:.2f}")

    name = digest_config(config).removeprefix("sha256:")[:16]
    history = fit(
        model, drafter, texts, steps=config.steps, rate=config.rate, anchors=config.anchors,
        seed=seed, snapshot=context.checkpoint_dir / name / f"drafter-s{seed}.pt", on_step=report,
    )  # fmt: skip
    drafter.save(context.artifact(f"drafter-s{seed}"))
    return Fitted(drafter.to(model.dtype).eval(), history, Seen(written.grams | subject.seen))


def _write_texts(
    config: Config, pace: Pace, subject: Subject, drafter: BlockDrafter, seed: int
) -> list[Text]:
    """Greedy text of the verifier after prompts of the drafter's own."""

    def draw(index: int) -> list[int]:
        return subject.prompts.draw_training(seed, index, config.prompt_tokens)

    texts = []
    for start in range(0, config.texts, config.batch):
        indices = range(start, min(start + config.batch, config.texts))
        texts.append(
            write_text(
                subject.model, stack(draw, indices, subject.device),
                drafter.config.target_layers, new_tokens=config.new_tokens, chunk=config.chunk,
            )
        )  # fmt: skip
        pace.advance(f"texts of the verifier, seed {seed}")
    return texts


def _shape(config: Config, model: Any) -> DrafterConfig:
    """Heads and widths as the verifier has them; features from over its depth."""
    text = model.config.get_text_config(decoder=True)
    depth = text.num_hidden_layers
    heads = text.num_attention_heads
    targets = config.target_layers or tuple(
        sorted({max(0, round(share * (depth - 1)) - 1) for share in (0.1, 0.4, 0.7, 1.0)})
    )
    return DrafterConfig(
        hidden=text.hidden_size,
        layers=config.layers,
        heads=heads,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        intermediate=text.intermediate_size,
        target_layers=targets,
        mask_token=config.mask_token,
        block=config.block,
    )
