"""Gradient routing: can a policy learn from hackable graders and be deployed without the hacks?

Every arm starts from the same base and meets the same graders. Routing arms send the part of each
gradient that points along a hack direction into a quarantine adapter; deployed, the adapter is
taken out. Directions come from sentinel pairs alone; file_marker and run_tests are held out.
"""

from __future__ import annotations

import time
from collections import Counter

import torch

from bridge import canonical
from workloads.routing.arms import ARMS
from workloads.routing.config import Config
from workloads.routing.evaluation import Exam
from workloads.routing.policy import Parameters
from workloads.routing.training import Routed, train_base, train_routed
from workloads.shared.context import Context
from workloads.shared.journal import Entry
from workloads.shared.samples import Sample

__all__ = ["Config", "run"]

EARLY_STEPS = 10


def run(config: Config, context: Context) -> None:
    """Train and evaluate every arm on every seed."""
    context.state(
        scale=config.scale,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        planned_refreshes=count_planned(config),
    )
    units = [(seed, arm) for seed in config.seeds for arm in ("base", *config.arms)]
    bases: dict[int, Parameters] = {}
    for step, (seed, arm) in enumerate(units, start=1):
        key = f"{arm} {seed}"
        if not context.resume(key):
            if seed not in bases:
                bases[seed] = train_base(config, seed)
            context.commit(key, _measure(config, bases[seed], arm, seed))
        context.progress(step, len(units), f"routing {key}")


def count_planned(config: Config) -> int:
    """How often an arm's basis is to be taken anew after the first time."""
    return (config.sizes.steps - 1) // config.refresh_every


def _measure(config: Config, base: Parameters, arm: str, seed: int) -> Entry:
    started_s = time.monotonic()
    exam = Exam.draw(seed, config.samples)
    if arm == "base":
        grades = exam.sit(base, quarantine=False)
        rows = exam.write(grades, arm=arm, seed=seed, knob="off")
        return Entry(tuple(rows), {"base.units": 1})
    finder = _Finder(config, seed)
    routed = train_routed(config, base, ARMS[arm], seed, finder.look)
    rows = []
    for knob in ("on", "off"):
        grades = exam.sit(routed.theta, quarantine=knob == "on", gates=routed.gates)
        rows += exam.write(grades, arm=arm, seed=seed, knob=knob)
    rows += _summarise(config, arm, seed, routed, finder)
    counters = Counter(
        {
            f"{arm}.units": 1,
            f"{arm}.refreshes": routed.refreshes,
            f"{arm}.steps": config.sizes.steps,
            f"{arm}.train_ms": round((time.monotonic() - started_s) * 1000),
        }
    )
    return Entry(tuple(rows), counters)


class _Finder:
    """Finds the first check at which the deployed policy solves as often as was agreed."""

    def __init__(self, config: Config, seed: int) -> None:
        self._config = config
        self._exam = Exam.draw(seed, config.samples, "match")
        self.hack: float | None = None
        self.step: int | None = None

    def look(self, step: int, routed: Routed) -> None:
        """Look after a step where a check is due."""
        if self.step is not None or step % self._config.check_every:
            return
        grades = self._exam.sit(routed.theta, quarantine=False, gates=routed.gates)
        hack, solve = self._exam.rates(grades)
        if solve >= self._config.matched_solve:
            self.hack, self.step = hack, step


def _summarise(
    config: Config, arm: str, seed: int, routed: Routed, finder: _Finder
) -> list[Sample]:
    steps = config.sizes.steps
    scores: dict[str, float | None] = {
        "refreshes": routed.refreshes,
        "refreshes_planned": count_planned(config),
        "basis_moved": min(routed.moved) if routed.moved else 0.0,
        "spared": sum(routed.spared) / len(routed.spared),
        "matched_hack": finder.hack,
        "matched": finder.step is not None,
    }
    late = steps - max(EARLY_STEPS, steps // 4)
    for name, chosen in (
        ("early", [one for one in routed.aligned if one[0] < EARLY_STEPS]),
        ("late", [one for one in routed.aligned if one[0] >= late]),
    ):
        gaps = [hack - solve for _, hack, solve in chosen]
        scores[f"gap_{name}"] = sum(gaps) / len(gaps) if gaps else None
    unit = f"training-s{seed}"
    return [
        Sample(
            arm=arm, seed=seed, unit=unit, input=canonical.digest([unit]), measure=measure,
            score=score, error=None if score is not None else "never reached",
        )
        for measure, score in scores.items()
    ]  # fmt: skip
