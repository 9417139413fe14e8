"""Fused block-diffusion decoding beside plain decoding and transformers' own peers.

A drafter reads the verifier's hidden states and drafts a block in one forward; one forward of the
verifier checks it. What is measured: whether every token is the one of plain greedy decoding, and
how long each arm takes for the same held-out prompts, in one run and by turns.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import transformers

from workloads.shared.context import Context
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.specdecode import measuring
from workloads.specdecode.arms import Bench, measure_costs
from workloads.specdecode.config import Config
from workloads.specdecode.measuring import Unit
from workloads.specdecode.policy import Costs
from workloads.specdecode.subjects import Fitted, Subject, load_subject, make_drafter

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> None:
    """Train what is to be trained, then decode every prompt in every arm.

    Inputs: none for models that are trained here; else `weights`, `humaneval` and `essays`, and
    `drafter` and `assistant` where they are given.
    """
    texts = 0 if "drafter" in context.job.inputs else -(-config.texts // config.batch)
    steps = 0 if "drafter" in context.job.inputs else config.steps
    pace = Pace(context, len(config.seeds) * (steps + texts))
    pace.advance("making the verifier", 0)
    subject = load_subject(config, context, pace)
    _state_facts(config, context, subject)
    for seed in config.seeds:
        fitted = make_drafter(config, context, pace, subject, seed)
        key = f"fit s{seed}"
        if not context.resume(key):
            context.commit(key, Entry(tuple(measuring.list_fit(fitted.history, seed=seed))))
        context.state(drafter_parameters=_count_parameters(fitted.drafter))
        _measure(config, context, pace, subject, fitted, seed)


def _measure(
    config: Config, context: Context, pace: Pace, subject: Subject, fitted: Fitted, seed: int
) -> None:
    bench = Bench.make(config, subject, fitted.drafter)
    kinds = subject.prompts.kinds
    units = [
        _draw(config, subject, kind, seed, [at]) for at in range(config.prompts) for kind in kinds
    ]
    groups = [
        _draw(config, subject, kind, seed, range(start, start + config.rows))
        for start in range(0, config.prompts - config.rows + 1, max(1, config.rows))
        for kind in kinds
        if config.rows
    ]
    halves = units if config.half and config.dtype == "float32" else []
    pace.expect(config.warmups + len(units) + len(groups) + len(halves))
    costs = _warm_up(config, context, pace, subject, bench, seed)
    for turn, unit in enumerate(units):
        key = f"unit {unit.id}"
        if not context.resume(key):
            entry = measuring.measure_unit(bench, unit, costs, turn=turn // 2, seen=fitted.seen)
            context.commit(key, entry)
        pace.advance(f"prompt {unit.id}")
    _measure_more(config, context, pace, subject, bench, (groups, halves), seed)


def _measure_more(
    config: Config,
    context: Context,
    pace: Pace,
    subject: Subject,
    bench: Bench,
    units: tuple[list[Unit], list[Unit]],
    seed: int,
) -> None:
    """Rows together, and bfloat16: each with costs of its own."""
    groups, halves = units
    if groups:
        warm = [_draw(config, subject, subject.prompts.kinds[0], seed, range(-config.rows, 0))]
        costs = measure_costs(bench, [one.ids for one in warm])
        for turn, unit in enumerate(groups):
            if not context.resume(f"batch {unit.id}"):
                entry = measuring.measure_batch(bench, unit, costs, turn=turn // 2)
                context.commit(f"batch {unit.id}", entry)
            pace.advance(f"{config.rows} rows, {unit.id}")
    if halves:
        half = bench.halve()
        costs = measure_costs(half, [one.ids for one in _list_warmups(config, subject, seed)])
        for turn, unit in enumerate(halves):
            if not context.resume(f"half {unit.id}"):
                entry = measuring.measure_half(half, unit, costs, turn=turn // 2)
                context.commit(f"half {unit.id}", entry)
            pace.advance(f"bfloat16, {unit.id}")


def _warm_up(
    config: Config, context: Context, pace: Pace, subject: Subject, bench: Bench, seed: int
) -> Costs:
    """Costs of a step and of a block; every arm once on every prompt, not counted."""
    warmups = _list_warmups(config, subject, seed)
    costs = measure_costs(bench, [unit.ids for unit in warmups])
    for turn, unit in enumerate(warmups):
        key = f"warmup {unit.id}"
        if not context.resume(key):
            context.commit(key, measuring.measure_unit(bench, unit, costs, turn=turn))
        pace.advance(f"warm-up {unit.id}")
    context.state(
        step_ms=round(costs.step_ms, 3),
        block_ms=round(costs.block_ms, 3),
        cost_ratio=round(costs.ratio, 3),
    )
    return costs


def _list_warmups(config: Config, subject: Subject, seed: int) -> list[Unit]:
    return [
        _draw(config, subject, subject.prompts.kinds[at % 2], seed, [-1 - at], warmup=True)
        for at in range(config.warmups)
    ]


def _draw(
    config: Config,
    subject: Subject,
    kind: str,
    seed: int,
    indices: Any,
    *,
    warmup: bool = False,
) -> Unit:
    rows = [subject.prompts.draw(kind, seed, at, config.prompt_tokens) for at in indices]
    ids = torch.tensor(rows, device=subject.device)
    return Unit(kind, seed, next(iter(indices)), ids, warmup)


def _state_facts(config: Config, context: Context, subject: Subject) -> None:
    missing = None
    if "assisted" in config.arms and subject.assistant is None:
        missing = "no assistant: none is given, and none is trained for given weights"
    model = subject.model
    context.state(
        verifier=type(model).__name__,
        verifier_parameters=_count_parameters(model),
        assistant_parameters=subject.assistant and _count_parameters(subject.assistant),
        arm_left_out=missing,
        device=str(subject.device),
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        torch=torch.__version__,
        transformers=transformers.__version__,
    )


def _count_parameters(module: Any) -> int:
    return sum(tensor.numel() for tensor in module.parameters())
