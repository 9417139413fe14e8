"""Training one arm's memory: the backbone is frozen, all else learns from five losses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workloads.ams_v4 import losses
from workloads.ams_v4.attention import PREFIX
from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.bundles import BASES, NAMES, Reading
from workloads.ams_v4.config import Arm, Config
from workloads.ams_v4.kakeya import KakeyaRegistry
from workloads.ams_v4.language import Fact, Session, draw_corpus, draw_session
from workloads.ams_v4.memory import Memory
from workloads.shared.prefix_memory import PrefixMemory
from workloads.shared.snapshots import read_snapshot, write_snapshot

CORPUS = 9  # sentences that v4.6 was trained on
REBUILD_EVERY = 10
DECAY = 0.01
CLIP = 1.0

Prompt = tuple[tuple[int, ...], tuple[int, ...]]
Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class Trained:
    """An arm's memory and the losses of every step."""

    arm: Arm
    memory: Memory | PrefixMemory
    history: tuple[Losses, ...]


def make_memory(arm: Arm, backbone: Backbone, seed: int) -> Memory | PrefixMemory:
    """An untrained memory, the same for the same seed."""
    torch.manual_seed(seed)
    if arm.model == "v3":
        memory: Memory | PrefixMemory = PrefixMemory(backbone.width, PREFIX, backbone.loudness)
    else:
        memory = Memory(backbone.width, backbone.loudness, near=arm.near)
    memory.to(backbone.device)
    return memory


def train(
    arm: Arm,
    config: Config,
    backbone: Backbone,
    seed: int,
    *,
    snapshot: Path,
) -> Trained:
    """One arm on one seed, from `snapshot` where a former attempt finished it."""
    memory = make_memory(arm, backbone, seed)
    found = read_snapshot(snapshot, backbone.device)
    if found is not None:
        memory.load_state_dict(found["memory"])
        history = [dict(step) for step in found["history"]]
    else:
        steps = config.sizes.steps if arm.trained else 0
        history = list(_learn(arm, config, backbone, memory, seed, steps))
        write_snapshot(snapshot, {"memory": memory.state_dict(), "history": history})
    return Trained(arm, memory.eval().requires_grad_(False), tuple(history))


def _learn(
    arm: Arm,
    config: Config,
    backbone: Backbone,
    memory: Memory | PrefixMemory,
    seed: int,
    steps: int,
) -> Iterator[Losses]:
    optimizer = torch.optim.AdamW(memory.parameters(), lr=config.rate, weight_decay=DECAY)
    lesson: Any = (
        _FlatLesson(backbone, memory)
        if isinstance(memory, PrefixMemory)
        else _BundleLesson(arm, backbone, memory)
    )
    corpus = draw_corpus(backbone.language, make_source("corpus", seed), CORPUS)
    for step in range(steps):
        source = make_source(f"step {step}", seed)
        for group in optimizer.param_groups:
            group["lr"] = config.rate * min(1.0, (step + 1) / 20)
        sessions, prompts = draw_lesson(arm, config, backbone, source, corpus)
        terms = lesson.terms(step, sessions, prompts)
        total = sum(losses.WEIGHTS[name] * term for name, term in terms.items())
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(memory.parameters(), CLIP)
        optimizer.step()
        yield {name: float(term.detach()) for name, term in terms.items()}


def draw_lesson(
    arm: Arm,
    config: Config,
    backbone: Backbone,
    source: random.Random,
    corpus: tuple[Fact, ...],
) -> tuple[list[Session], list[list[Prompt]]]:
    """Sessions of one length, and for each the prompts that are asked, with what must follow."""
    sizes = config.sizes
    language = backbone.language
    count = source.randint(*sizes.told)
    sessions = []
    for _ in range(sizes.batch):
        if arm.diverse:
            sessions.append(draw_session(language, source, count, held=False))
        else:
            sessions.append(Session(tuple(source.sample(corpus, len(corpus)))))
    prompts = [
        [_prompt(fact, entity=arm.entity) for fact in source.sample(one.facts, sizes.prompts)]
        for one in sessions
    ]
    return sessions, prompts


def _prompt(fact: Fact, *, entity: bool) -> Prompt:
    if entity:
        return fact.retold, fact.answer
    half = len(fact.ids) // 2
    return fact.ids[:half], fact.ids[half:]


class _BundleLesson:
    """The five losses of the three bundles."""

    def __init__(self, arm: Arm, backbone: Backbone, memory: Memory) -> None:
        self._arm, self._backbone, self._memory = arm, backbone, memory
        names = ("semantic", "content", "descriptor")
        self._registry = KakeyaRegistry(BASES, dict.fromkeys(names, backbone.width))

    def terms(
        self, step: int, sessions: list[Session], prompts: list[list[Prompt]]
    ) -> dict[str, torch.Tensor]:
        """Each loss by name."""
        backbone, memory = self._backbone, self._memory
        told = backbone.read_sessions(sessions)
        asked = backbone.read_prompts([[one for one, _ in row] for row in prompts], told)
        entries, places = memory.encode(told), memory.encode(asked)
        allowed = memory.choose(entries, places, self._arm.chosen) if self._arm.chosen else None
        prefix = memory.recall(asked, places, entries, allowed).flatten(0, 1)
        rows = [pair for row in prompts for pair in row]
        fields = {name: value.flatten(0, 1) for name, value in memory.fields(told, entries).items()}
        axes = memory.axes
        if step % REBUILD_EVERY == 0:
            self._registry.build(fields, axes)
        fibers = {name: entries[name].fiber.flatten(0, 1) for name in NAMES}
        texts = torch.cat([entries["topic"].base.flatten(0, 1), places["topic"].base.flatten(0, 1)])
        likeness = losses.jaccard(
            [fact.ids for one in sessions for fact in one.facts] + [one for one, _ in rows],
            backbone.weights,
        )
        return {
            "prefix_semantic_anchor": _answer_loss(backbone, prefix, rows),
            "axis_alignment": losses.align_axes(entries, texts, likeness.to(texts.device), axes),
            "independence": losses.bind_apart(fibers),
            "recon": losses.reconstruct(self._registry, fields),
            "write_policy": losses.keep_spread(fibers),
        }


class _FlatLesson:
    """The prefix loss alone: a flat store has no axes, no sets and one kind of entry."""

    def __init__(self, backbone: Backbone, memory: PrefixMemory) -> None:
        self._backbone, self._memory = backbone, memory

    def terms(
        self, step: int, sessions: list[Session], prompts: list[list[Prompt]]
    ) -> dict[str, torch.Tensor]:
        """The one loss by name."""
        del step
        told = self._backbone.read_sessions(sessions)
        asked = self._backbone.read_prompts([[one for one, _ in row] for row in prompts], told)
        prefix = recall_flat(self._memory, told, asked).flatten(0, 1)
        rows = [pair for row in prompts for pair in row]
        return {"prefix_semantic_anchor": _answer_loss(self._backbone, prefix, rows)}


def recall_flat(memory: PrefixMemory, told: Reading, asked: Reading) -> torch.Tensor:
    """The prefix (S, Q, P, d) of a flat memory."""
    count = asked.hidden.shape[1]
    entries = told.hidden[:, None].expand(-1, count, -1, -1).flatten(0, 1)
    prefix: torch.Tensor = memory(asked.hidden.flatten(0, 1), entries)
    return prefix.unflatten(0, (-1, count))


def _answer_loss(backbone: Backbone, prefix: torch.Tensor, rows: list[Prompt]) -> torch.Tensor:
    nats, _ = backbone.answer(prefix, [one for one, _ in rows], [two for _, two in rows])
    return nats.mean()


def make_source(purpose: str, seed: int) -> random.Random:
    """A source of random numbers of its own for each purpose."""
    return random.Random(f"ams_v4/1 {purpose} {seed}")  # noqa: S311  (a seed, not a secret)
