"""Rows of drafting: drafted tokens beside torch's, and losslessness of the fused loop."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Literal

import mlx.core as mx
import torch

from workloads.mlxport import decoding
from workloads.mlxport.config import Config
from workloads.mlxport.decoding import Drafting, Fused
from workloads.mlxport.drafter import PortedBlockDrafter
from workloads.mlxport.subjects import Port
from workloads.mlxport.verifier import NativeVerifier, PortedVerifier
from workloads.shared.drafter import BlockDrafter, ContextCache, embed_unscaled
from workloads.shared.journal import Entry
from workloads.shared.samples import Sample
from workloads.shared.tasks import Problem, Unit

FusedArm = Literal["fused", "scripted", "fused_restored", "scripted_restored"]
ARMS: tuple[FusedArm, ...] = ("fused", "scripted", "fused_restored", "scripted_restored")


class ScriptedDrafter:
    """What greedy decoding will say, with a fault at a random place of each block.

    It makes blocks of every acceptance length, which no drafter does at will.
    """

    def __init__(self, truth: Sequence[int], *, block: int, vocabulary: int, seed: str) -> None:
        self._truth = truth
        self._count = block - 1
        self._vocabulary = vocabulary
        self._random = random.Random(f"scripted/1 {seed}")  # noqa: S311  (no secret)

    def extend(self, features: mx.array) -> None:
        """It needs none."""

    def draft(self, committed: Sequence[int]) -> list[int]:
        """See `Drafting.draft`."""
        known = list(self._truth[len(committed) : len(committed) + self._count])
        draft = known + [committed[-1]] * (self._count - len(known))
        fault = self._random.randrange(self._count + 1)
        if fault < self._count:
            draft[fault] = (draft[fault] + 1) % self._vocabulary
        return draft


def measure(
    config: Config,
    port: Port,
    drafter: PortedBlockDrafter,
    reference: tuple[Any, BlockDrafter] | None,
    unit: Unit,
    problem: Problem,
) -> Entry:
    """Rows of all arms on one problem; `reference` is the torch model and drafter, in float32."""
    ids = mx.array([problem.ids])
    targets = drafter.config.target_layers
    rows: list[Sample] = []

    def note(arm: str, t_ms: float, **scores: float) -> None:
        rows.extend(
            Sample(
                arm=arm, seed=unit.seed, unit=unit.id, input=problem.digest, measure=name,
                score=float(score), t_ms=t_ms,
            )
            for name, score in scores.items()
        )  # fmt: skip

    greedy: dict[bool, list[int]] = {}
    for restored in (False, True):
        verifier = _make_verifier(config, port, restored, ())
        started_s = time.perf_counter()
        greedy[restored] = decoding.decode_greedy(verifier, ids, new_tokens=config.new_tokens)[
            0
        ].tolist()
        t_ms = _measure_ms(started_s)
        note("greedy_restored" if restored else "greedy", t_ms, token_ms=t_ms / config.new_tokens)
    for arm in ARMS:
        restored = arm.endswith("restored")
        truth = greedy[restored]
        verifier = _make_verifier(config, port, restored, targets)
        used: Drafting = drafter.restart()
        if arm.startswith("scripted"):
            vocabulary = int(verifier.ported.decoder.embed_tokens.weight.shape[0])
            used = ScriptedDrafter(truth, block=config.block, vocabulary=vocabulary, seed=unit.id)
        started_s = time.perf_counter()
        fused = decoding.decode_fused(verifier, used, ids, new_tokens=config.new_tokens)
        t_ms = _measure_ms(started_s)
        accepted = sum(count for _, _, count in fused.drafts) / len(fused.drafts)
        note(
            arm, t_ms, lossless=fused.tokens == truth, accepted=accepted,
            token_ms=t_ms / config.new_tokens,
        )  # fmt: skip
        if arm == "fused" and reference is not None:
            note(arm, t_ms, draft_same=compare_drafts(*reference, problem.ids, fused))
    return Entry(tuple(rows), {"fused.prompts": 1})


@torch.inference_mode()  # type: ignore[untyped-decorator]
def compare_drafts(model: Any, drafter: BlockDrafter, prompt: Sequence[int], fused: Fused) -> float:
    """The share of blocks that torch drafts alike, led along the same tokens."""
    ids = torch.tensor([[*prompt, *fused.tokens]])
    outputs = model(ids, output_hidden_states=True, use_cache=False).hidden_states
    features = torch.cat([outputs[layer + 1] for layer in drafter.config.target_layers], dim=-1)
    masks = [drafter.config.mask_token] * (drafter.config.block - 1)
    same = 0
    for committed, draft, _ in fused.drafts:
        place = len(prompt) + committed - 1
        cache = ContextCache(drafter.config)
        drafter.extend(cache, features[:, :place], torch.tensor([0]), place)
        tokens = torch.tensor([[int(ids[0, place]), *masks]])
        block = embed_unscaled(model.get_input_embeddings(), tokens)
        end = place + drafter.config.block
        hidden = drafter.draft(cache, block, torch.tensor([place]), end)
        logits = model.get_output_embeddings()(hidden[:, 1:])
        same += tuple(logits.argmax(-1)[0].tolist()) == draft
    return same / len(fused.drafts)


def _make_verifier(
    config: Config, port: Port, restored: bool, targets: tuple[int, ...]
) -> PortedVerifier:
    if restored:
        return port.make_verifier(config, "projected", targets=targets)
    return NativeVerifier(port.verifier, chunk=config.chunk, targets=targets)


def _measure_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000
