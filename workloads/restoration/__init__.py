"""K/V restoration: a verifier that holds sink and window and reads the rest from a drafter.

A projection (f_theta) maps a small model's K/V to those of every layer of the verifier. What is
measured: recall of needles in each arm beside the oracle, the bytes that are really allocated,
the relative error of K and V before and after their norms for every loss, and recall as exact
K/V are mixed in.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import torch

from workloads.restoration import measuring
from workloads.restoration.config import Config
from workloads.restoration.fitting import judge
from workloads.restoration.losses import LossName
from workloads.restoration.subjects import Fitted, Subject, load_subject, make_projection
from workloads.shared.context import Context
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.shared.parallel import count_workers, run_side_by_side
from workloads.shared.restored.targets import Targets
from workloads.shared.tasks import make_texts

__all__ = ["Config", "run"]

HELD_OUT = 2  # batches that judge a projection, of a seed that training never takes
HELD_OUT_SEED = 1_000_000


def run(config: Config, context: Context) -> None:
    """Train what is to be trained, then measure every arm.

    Inputs: none for a verifier that is trained here; else `weights` and `essays`, and `drafter`
    or `projection` where the config says given.
    """
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    pace = Pace(context, len(config.seeds) * len(config.losses) * config.steps)
    pace.advance("making the verifier", 0)
    subject = load_subject(config, context, pace)
    pace.expect(measuring.count_steps(config, subject))
    _state_facts(context, subject)
    workers = count_workers(subject.device)
    if workers > 1:
        _train_side_by_side(config, context, pace, subject, workers)
    watched = pace if workers == 1 else None
    for seed in config.seeds:
        batches = _observe(config, subject, seed, config.batches)
        held_out = _observe(config, subject, HELD_OUT_SEED + seed, HELD_OUT)
        first: Fitted | None = None
        for loss in config.losses:
            fitted = make_projection(
                config, context, watched, subject, batches, loss=loss, seed=seed
            )
            _commit_fit(config, context, subject, fitted, held_out, loss=loss, seed=seed)
            first = first or fitted
        assert first is not None, "the config names a loss"
        _measure_arms(config, context, pace, subject, first, seed)
        _measure_mixes(config, context, pace, subject, first, seed)


def _train_side_by_side(
    config: Config, context: Context, pace: Pace, subject: Subject, workers: int
) -> None:
    """Train every projection, one thread each; each is left as a snapshot."""
    parts = [
        partial(_train_one, config, context, subject, loss, seed)
        for seed in config.seeds
        for loss in config.losses
        if config.steps
    ]
    for name in run_side_by_side(parts, workers):
        pace.advance(f"{name}: trained", config.steps)


def _train_one(
    config: Config, context: Context, subject: Subject, loss: LossName, seed: int
) -> str:
    batches = _observe(config, subject, seed, config.batches)
    make_projection(config, context, None, subject, batches, loss=loss, seed=seed)
    return f"f_theta {loss} seed {seed}"


def _state_facts(context: Context, subject: Subject) -> None:
    model = subject.model
    context.state(
        verifier=type(model).__name__,
        verifier_parameters=_count_parameters(model),
        layers=[
            {"kind": layer.kind, "kv_heads": layer.kv_heads, "head_dim": layer.head_dim,
             "window": layer.window, "owns": layer.owns}
            for layer in subject.teacher.layers
        ],
        device=str(subject.device),
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        torch=torch.__version__,
    )  # fmt: skip


def _count_parameters(module: Any) -> int:
    return sum(tensor.numel() for tensor in module.parameters())


def _observe(config: Config, subject: Subject, seed: int, count: int) -> list[Targets]:
    attention = any(loss.startswith("attn") for loss in config.losses)
    texts = make_texts(
        subject.task,
        seed=seed,
        count=count,
        rows=config.rows,
        length=config.length,
        device=subject.device,
    )
    return [subject.teacher.observe(ids, attention=attention) for ids in texts]


def _commit_fit(
    config: Config,
    context: Context,
    subject: Subject,
    fitted: Fitted,
    held_out: list[Targets],
    *,
    loss: LossName,
    seed: int,
) -> None:
    """Rows of one trained projection: its curve, its errors by layer, its own recall."""
    fitted.projection.save(context.artifact(f"f_theta-{loss}-s{seed}"))
    context.state(
        drafter=type(fitted.drafter.model).__name__,
        drafter_parameters=_count_parameters(fitted.drafter.model),
        projection_parameters=_count_parameters(fitted.projection),
    )
    key = f"fit {loss} s{seed}"
    if context.resume(key):
        return
    rows = measuring.list_curve(fitted.history, loss=loss, seed=seed)
    started_s = time.perf_counter()
    errors = judge(subject.teacher, fitted.drafter, fitted.projection, held_out)
    t_ms = (time.perf_counter() - started_s) * 1000
    rows += measuring.list_errors(errors, subject.teacher.owners, loss=loss, seed=seed, t_ms=t_ms)
    if len(config.losses) > 1:
        rows += measuring.measure_loss_recall(config, subject, fitted, loss=loss, seed=seed)
    context.commit(key, Entry(tuple(rows), {"f_theta.steps": len(fitted.history)}))


def _measure_arms(
    config: Config, context: Context, pace: Pace, subject: Subject, fitted: Fitted, seed: int
) -> None:
    for length in config.contexts:
        units = measuring.list_units(config, length, seed)
        for start in range(0, len(units), config.eval_rows):
            group = units[start : start + config.eval_rows]
            for arm in measuring.list_arms(config, subject):
                key = f"{arm} {group[0].id} {group[-1].id}"
                if not context.resume(key):
                    entry = measuring.measure_arm(config, subject, fitted, arm, group)
                    context.commit(key, entry)
                pace.advance(f"{arm} at {length}, seed {seed}")


def _measure_mixes(
    config: Config, context: Context, pace: Pace, subject: Subject, fitted: Fitted, seed: int
) -> None:
    units = measuring.list_units(config, min(config.contexts), seed)
    for alpha in config.alphas:
        for start in range(0, len(units), config.eval_rows):
            group = units[start : start + config.eval_rows]
            key = f"mix {alpha} {group[0].id} {group[-1].id}"
            if not context.resume(key):
                context.commit(key, measuring.measure_mix(config, subject, fitted, alpha, group))
            pace.advance(f"mix {alpha:g}, seed {seed}")
