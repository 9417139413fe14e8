"""Training a small model from scratch until it finds needles.

Plain training stays at chance (it did after 1.5 million tokens). What works is a curriculum:
copying at a fixed offset, copying from anywhere, needles in short rows, then in longer ones, the
sliding layers held to four positions until the full layers have learned to look back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from workloads.shared.snapshots import read_snapshot, write_snapshot
from workloads.shared.synthetic import IGNORED, make_copy_batch, make_needle_batch

NARROW = 4
LANGUAGE_SHARE = 0.05
REPLAY_SHARE = 0.15
CHECK_EVERY = 10


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the curriculum.

    Attributes:
        task: fixed or free copying, needles, or another that `draw` knows.
        length: tokens in a row; `rows` of them in a batch.
        steps: at most so many.
        enough: the share of right answer tokens at which the stage ends early.
        window: of the sliding layers, None for the model's own.
        rate: factor on the learning rate.
    """

    name: str
    task: str
    length: int
    rows: int
    steps: int
    enough: float = 0.97
    window: int | None = None
    rate: float = 1.0


STAGES = (
    Stage("copy-fixed-32", "fixed", 32, 64, 100, window=NARROW),
    Stage("copy-32", "copy", 32, 64, 250, window=NARROW),
    Stage("copy-96", "copy", 96, 22, 150, window=NARROW),
    Stage("needles-96", "needles", 96, 22, 300, window=NARROW),
    Stage("needles-256", "needles", 256, 16, 80, rate=0.5),
    Stage("needles-512", "needles", 512, 8, 80, rate=0.5),
    Stage("needles-1024", "needles", 1024, 4, 60, rate=0.25),
    Stage("needles-2048", "needles", 2048, 2, 60, enough=0.995, rate=0.25),
)
CI_STAGES = (
    *(stage for stage in STAGES[:4] if stage.name != "copy-96"),
    Stage("needles-256", "needles", 256, 8, 40, rate=0.5),
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of training came to."""

    stage: str
    step: int
    loss: float
    accuracy: float
    tokens: int
    process_s: float


Draw = Callable[[random.Random, Stage], tuple[torch.Tensor, torch.Tensor]]


def train_on_needles(
    model: Any,
    *,
    seed: int,
    rate: float = 2e-3,
    half_precision: bool = True,
    stages: tuple[Stage, ...] = STAGES,
    on_step: Callable[[Step], None] | None = None,
    snapshot: Path | None = None,
    draw: Draw | None = None,
) -> list[Step]:
    """Train `model` in place through `stages`; every step is returned.

    Args:
        model: a causal language model of the synthetic vocabulary.
        seed: of the rows.
        rate: peak learning rate of AdamW.
        half_precision: bfloat16 autocast.
        stages: the curriculum.
        on_step: called after every step, and for those that the snapshot holds.
        snapshot: where finished stages are kept, and gone on from.
        draw: makes the rows of a stage; `make_batch` where none is given.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    history: list[Step] = []
    done = 0
    device = next(model.parameters()).device
    found = read_snapshot(snapshot, device) if snapshot else None
    if found is not None:
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        done, history = found["stages"], [Step(*row) for row in found["history"]]
        for step in history if on_step else ():
            on_step(step)  # type: ignore[misc]
    model.train()
    for count in range(done + 1, len(stages) + 1):
        for step in _run_stage(
            model, optimizer, seed, stages[:count], rate, half_precision, draw or make_batch
        ):
            history.append(step)
            if on_step is not None:
                on_step(step)
        if snapshot is not None:
            write_snapshot(
                snapshot,
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "stages": count,
                    "history": [list(astuple(step)) for step in history],
                },
            )
    model.eval()
    return history


def _run_stage(
    model: Any,
    optimizer: Any,
    seed: int,
    stages: tuple[Stage, ...],
    rate: float,
    half_precision: bool,
    draw: Draw,
) -> Iterator[Step]:
    stage = stages[-1]
    recent: list[float] = []
    for number in range(stage.steps):
        # A source of its own for each step, so that a run that goes on draws the same rows.
        source = random.Random(f"curriculum/1 {seed} {stage.name} {number}")  # noqa: S311
        replayed = len(stages) > 1 and source.random() < REPLAY_SHARE
        chosen = source.choice(stages[:-1]) if replayed else stage
        warm = min(1.0, (number + 1) / 20)
        for group in optimizer.param_groups:
            group["lr"] = rate * stage.rate * warm
        started_s = time.process_time()
        loss, accuracy = _learn(model, optimizer, draw(source, chosen), chosen, half_precision)
        yield Step(
            chosen.name, number, loss, accuracy, chosen.rows * chosen.length,
            time.process_time() - started_s,
        )  # fmt: skip
        if not replayed:
            recent = [*recent[1 - CHECK_EVERY :], accuracy]
        if len(recent) == CHECK_EVERY and sum(recent) / CHECK_EVERY >= stage.enough:
            return


def _learn(
    model: Any,
    optimizer: Any,
    batch: tuple[torch.Tensor, torch.Tensor],
    stage: Stage,
    half_precision: bool,
) -> tuple[float, float]:
    device = next(model.parameters()).device
    ids, labels = (rows.to(device) for rows in batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=half_precision):
        logits = model(input_ids=ids, attention_mask=_make_masks(model, stage), use_cache=False)
        logits = logits.logits
    logits = logits.float()
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    if stage.task not in ("fixed", "copy"):
        plain = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss = loss + LANGUAGE_SHARE * plain
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    asked = labels != IGNORED
    right = (logits.argmax(-1) == labels)[asked].float().mean()
    return float(loss.detach()), float(right)


def make_batch(source: random.Random, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (B, T) and labels (B, T) of a stage."""
    if stage.task == "needles":
        return make_needle_batch(
            source, rows=stage.rows, length=stage.length, needles=6, questions=4
        )
    return make_copy_batch(
        source, rows=stage.rows, length=stage.length, fixed=stage.task == "fixed"
    )


def _make_masks(model: Any, stage: Stage) -> Any:
    """Additive masks by layer type, with the stage's window; None for a model without windows."""
    kinds = set(getattr(model.config, "layer_types", None) or ())
    if "sliding_attention" not in kinds:
        return None
    window = stage.window or model.config.sliding_window
    places = torch.arange(stage.length, device=next(model.parameters()).device)
    causal = places[None, :] <= places[:, None]
    near = causal & (places[None, :] > places[:, None] - window)
    return {"full_attention": causal[None, None], "sliding_attention": near[None, None]}
