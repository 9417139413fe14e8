"""Training one arm's memory: the language model is frozen, all else learns from six losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from workloads.ams_audit.config import Arm, Config
from workloads.ams_audit.lessons import Lesson, draw_corpus, draw_lesson, make_source
from workloads.ams_audit.mechanisms import REWEIGHTED, WEIGHTS, distil, make_memory, mark
from workloads.ams_audit.memory import BRIDGE_SLOTS, FOUND, SHARPNESS, AuditMemory, mix, point
from workloads.ams_audit.reading import Passage, read_passages
from workloads.ams_audit.tokens import Vocabulary
from workloads.shared.frozen import FrozenModel, label_answers
from workloads.shared.snapshots import read_snapshot, write_snapshot
from workloads.shared.synthetic import IGNORED

CORPUS = 48
DECAY = 0.01
CLIP = 1.0
MARGIN = 1.0  # nats

Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class Trained:
    """An arm's memory, what it was before training, and the losses of every step.

    Attributes:
        marks: cosines of the first cross-attention with the language model's own projections (M2)
            and of the queries with pooled hidden states (M4) before training, and how many steps
            were distilled (M3): a switch without effect is seen here.
    """

    memory: AuditMemory
    marks: Losses
    history: tuple[Losses, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Lessons as the frozen model reads them."""

    lessons: tuple[Lesson, ...]
    told: tuple[tuple[Passage, ...], ...]
    asked: torch.Tensor  # (B, d)

    @classmethod
    def read(cls, model: FrozenModel, vocabulary: Vocabulary, lessons: Sequence[Lesson]) -> Batch:
        """Every told text and every prompt, in one pass of the model."""
        texts = [one.text for lesson in lessons for one in lesson.told]
        passages = read_passages(model, vocabulary, [*texts, *[one.prompt for one in lessons]])
        count = len(lessons[0].told)
        told = tuple(
            tuple(passages[start : start + count]) for start in range(0, len(texts), count)
        )
        asked = torch.stack([passage.semantic for passage in passages[len(texts) :]])
        return cls(tuple(lessons), told, asked)

    @property
    def wanted(self) -> list[Passage]:
        """The text of each lesson that its prompt should bring."""
        return [row[lesson.wanted] for row, lesson in zip(self.told, self.lessons, strict=True)]


def train(
    arm: Arm,
    config: Config,
    model: FrozenModel,
    vocabulary: Vocabulary,
    seed: int,
    *,
    snapshot: Path,
    on_step: Callable[[Losses], None],
) -> Trained:
    """One arm on one seed, from `snapshot` where a former attempt finished it."""
    corpus = read_passages(model, vocabulary, draw_corpus(seed, CORPUS))
    memory = make_memory(arm.mechanisms, model, corpus, seed)
    marks = mark(memory, model, corpus)
    found = read_snapshot(snapshot, model.device)
    history: list[Losses] = []
    if found is not None:
        memory.load_state_dict(found["memory"])
        history = [dict(step) for step in found["history"]]
        for values in history:
            on_step(values)
    elif arm.trained:
        for values in _learn(arm, config, model, vocabulary, memory, seed):
            history.append(values)
            on_step(values)
        write_snapshot(snapshot, {"memory": memory.state_dict(), "history": history})
    marks["distilled_steps"] = sum("distillation" in step for step in history)
    return Trained(memory.eval().requires_grad_(False), marks, tuple(history))


def _learn(
    arm: Arm,
    config: Config,
    model: FrozenModel,
    vocabulary: Vocabulary,
    memory: AuditMemory,
    seed: int,
) -> Iterator[Losses]:
    optimizer = torch.optim.AdamW(memory.parameters(), lr=config.rate, weight_decay=DECAY)
    # M3 has an optimizer of its own over the bridge alone, as in the source
    second = torch.optim.AdamW(memory.bridge.parameters(), lr=config.rate, weight_decay=DECAY)
    weights = REWEIGHTED if arm.mechanisms.no_encoder else WEIGHTS
    target = arm.mechanisms.distil
    for step in range(config.sizes.steps):
        source = make_source(f"step {step}", seed)
        lessons = [draw_lesson(source, config.sizes.told) for _ in range(config.sizes.batch)]
        batch = Batch.read(model, vocabulary, lessons)
        for group in (*optimizer.param_groups, *second.param_groups):
            group["lr"] = config.rate * min(1.0, (step + 1) / 20)
        terms = measure_losses(memory, model, vocabulary, batch)
        _take_step(memory, optimizer, sum(weights[name] * term for name, term in terms.items()))
        if target is not None:
            prefix, _, _ = recall_batch(memory, model, batch)
            terms["distillation"] = distil(memory, target, prefix[:, :BRIDGE_SLOTS], batch.wanted)
            _take_step(memory, second, terms["distillation"])
        yield {name: float(term.detach()) for name, term in terms.items()}


def _take_step(memory: AuditMemory, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    memory.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(memory.parameters(), CLIP)
    optimizer.step()


def recall_batch(
    memory: AuditMemory, model: FrozenModel, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The prefix (B, P, d), the pointer (B, V) and the nearness (B, N) of every told text."""
    places = memory.place(
        torch.stack([torch.stack([p.semantic for p in row]) for row in batch.told])
    )
    nearness = (places @ memory.place(batch.asked)[..., None])[..., 0]
    best = nearness.topk(min(FOUND, nearness.shape[1]), dim=-1)
    weights = memory.weigh(best.values)
    found = [
        [row[index] for index in chosen]
        for row, chosen in zip(batch.told, best.indices.tolist(), strict=True)
    ]
    prefix = memory.recall(model, batch.asked, found, weights)
    return prefix, point(found, weights, len(model.weights)), nearness


def measure_losses(
    memory: AuditMemory, model: FrozenModel, vocabulary: Vocabulary, batch: Batch
) -> dict[str, torch.Tensor]:
    """The six losses by name; the source gives their names and weights, not what they compute."""
    prefix, pointer, nearness = recall_batch(memory, model, batch)
    prompts = [vocabulary.encode(lesson.prompt) for lesson in batch.lessons]
    texts = [vocabulary.encode(lesson.told[lesson.wanted].text) for lesson in batch.lessons]
    ids, labels = (rows.to(model.device) for rows in label_answers(prompts, texts))
    gate = memory.gate(nearness.max(-1).values)
    shown = _speak(model, prefix, pointer, gate, ids)
    own = _count_nats(shown, labels)
    other = _count_nats(_speak(model, prefix.roll(1, 0), pointer.roll(1, 0), gate, ids), labels)
    wanted = torch.tensor(
        [IGNORED if lesson.opened else lesson.wanted for lesson in batch.lessons],
        device=model.device,
    )
    first = shown[torch.arange(len(prompts)), [len(prompt) - 1 for prompt in prompts]]
    starters = vocabulary.starters.to(model.device)
    functions = vocabulary.functions.to(model.device)
    suppressed = first[:, functions].logsumexp(-1) - first[:, starters].logsumexp(-1) + MARGIN
    centroid = torch.stack([passage.centroid for passage in batch.wanted])
    table = functional.normalize(model.embed.weight.float(), dim=-1)
    nearest = (functional.normalize(prefix, dim=-1) @ table.T).max(-1).values
    return {
        "recon": own.mean(),
        "encoder_throughput": functional.relu(MARGIN + own - other).mean(),
        # an opening asks for no text in particular
        "semantic_alignment": functional.cross_entropy(
            SHARPNESS * nearness, wanted, ignore_index=IGNORED
        )
        if bool((wanted != IGNORED).any())
        else 0 * nearness.sum(),
        "tail_semantic_anchor": 1
        - functional.cosine_similarity(prefix[:, -1], centroid, dim=-1).mean(),
        "functional_suppression": functional.relu(suppressed).mean(),
        "vocab_anchor": -nearest.mean(),
    }


def _speak(
    model: FrozenModel,
    prefix: torch.Tensor,
    pointer: torch.Tensor,
    gate: torch.Tensor,
    ids: torch.Tensor,
) -> torch.Tensor:
    """Log probabilities (B, T, V) behind the prefix, with the found words mixed in."""
    logits = model.continue_from(prefix, ids)
    said = functional.one_hot(ids, logits.shape[-1]).cumsum(1) > 0
    return mix(logits, pointer, said, gate)


def _count_nats(shown: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B,) mean loss over the labelled tokens."""
    losses = functional.nll_loss(
        shown.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(labels.shape)
    return losses.sum(-1) / (labels != IGNORED).sum(-1)
