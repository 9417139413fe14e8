"""Three fiber bundles and Kakeya sets as the memory of a frozen language model (seed 001).

Arms differ only in what they learn from: v4.6 as it was, each of v4.7's three changes by itself,
all three, and the flat model before them. All train for the same number of steps and sit the same
exams, beside plain retrieval and the whole history in context.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch

from bridge import canonical
from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.config import ARMS, ArmName, Config
from workloads.ams_v4.invariants import holds, measure_invariants
from workloads.ams_v4.memory import Memory
from workloads.ams_v4.sessions import Exam, sit, sit_without_memory
from workloads.ams_v4.subjects import load_backbone
from workloads.ams_v4.training import Trained, train
from workloads.shared.context import Context
from workloads.shared.job import digest_config
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.shared.parallel import count_workers, run_side_by_side
from workloads.shared.samples import Sample

__all__ = ["Config", "run"]

CURVE_EVERY = 40


def run(config: Config, context: Context) -> None:
    """Train every arm on every seed and measure it."""
    pace = Pace(context, len(config.seeds) * (1 + len(config.arms) * (config.sizes.steps + 1)))
    backbone = load_backbone(config, context, pace)
    context.state(
        scale=config.scale,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        width=backbone.width,
        loudness=round(backbone.loudness, 4),
    )
    exams = {
        seed: [
            Exam.draw(
                backbone, seed, facts,
                sessions=config.sizes.sessions, questions=config.sizes.questions,
            )
            for facts in config.facts
        ]
        for seed in config.seeds
    }  # fmt: skip
    for seed in config.seeds:
        if not context.resume(f"plain {seed}"):
            rows = [row for exam in exams[seed] for row in sit_without_memory(exam, backbone)]
            context.commit(f"plain {seed}", Entry(tuple(rows), {"plain.units": 1}))
        pace.advance(f"seed {seed}: without memory")
    left = []
    for seed in config.seeds:
        for arm in config.arms:
            if context.resume(f"{arm} {seed}"):
                pace.advance(f"{arm} {seed}: done before", config.sizes.steps + 1)
            else:
                folder = context.checkpoint_dir
                left.append(partial(_run_arm, config, backbone, exams[seed], arm, seed, folder))
    for key, entry in run_side_by_side(left, count_workers(backbone.device)):
        context.commit(key, entry)
        pace.advance(f"{key}: measured", config.sizes.steps + 1)


def _run_arm(
    config: Config,
    backbone: Backbone,
    exams: list[Exam],
    name: ArmName,
    seed: int,
    folder: Path,
) -> tuple[str, Entry]:
    """One arm of one seed, trained and measured: its key and what it found."""
    started_s = time.process_time()
    digest = digest_config(config).removeprefix("sha256:")[:16]
    snapshot = folder / digest / f"{name}-s{seed}.pt"
    trained = train(ARMS[name], config, backbone, seed, snapshot=snapshot)
    spent_s = time.process_time() - started_s
    rows = [row for exam in exams for row in sit(exam, backbone, trained, name)]
    rows += _list_losses(trained, name, seed)
    if isinstance(trained.memory, Memory):
        rows += _list_invariants(trained.memory, backbone, exams[-1], name, seed)
    counters = {
        f"{name}.units": 1,
        f"{name}.steps": len(trained.history),
        f"{name}.train_process_s": round(spent_s, 3),
    }
    return f"{name} {seed}", Entry(tuple(rows), counters)


def _list_losses(trained: Trained, arm: str, seed: int) -> list[Sample]:
    return [
        _row(arm, seed, f"step{step}", "loss", value, {"step": step, "term": term})
        for step, losses in enumerate(trained.history)
        if step % CURVE_EVERY == 0 or step == len(trained.history) - 1
        for term, value in losses.items()
    ]


def _list_invariants(
    memory: Memory, backbone: Backbone, exam: Exam, arm: str, seed: int
) -> list[Sample]:
    figures = measure_invariants(memory, backbone, exam)
    return [
        _row(arm, seed, f"invariants-s{seed}", measure, value, {"invariant": name})
        for name, kept in holds(figures).items()
        for measure, value in (("invariant", kept), ("invariant_figure", figures[name]))
    ]


def _row(
    arm: str, seed: int, unit: str, measure: str, score: float, at: dict[str, str | float]
) -> Sample:
    return Sample(
        arm=arm, seed=seed, unit=f"{unit}-{'-'.join(map(str, at.values()))}",
        input=canonical.digest([arm, seed, unit]), measure=measure, score=score, at=at,
    )  # fmt: skip
