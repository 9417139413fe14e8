"""Round B: does averaging over batches turn an estimate towards the exact gradient?

Variance falls with the number of batches, bias stays. Two planted estimators say whether the
question can be answered at all: exact gradients under independent noise (the cosine must rise) and
exact gradients plus one fixed wrong direction (it must not).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bridge import canonical
from workloads.equilibrium.bench import Bench, Rows
from workloads.equilibrium.block import Parameters, is_contrast_driven
from workloads.equilibrium.gradients import (
    Gradients,
    average,
    cosine,
    differentiate_by_contrast,
    differentiate_exactly,
    flatten,
)
from workloads.equilibrium.nudging import Method, Nudge, run_nudged
from workloads.equilibrium.text import Batch, make_generator
from workloads.equilibrium.training import evaluate, rest_on

PLANTED = 2.0
STEP_LENGTH = 0.05


def sweep(bench: Bench, theta: Parameters, seed: int) -> list[Rows]:
    """Rows of one seed: cosine with the exact gradient of the same batches, by navg."""
    pool = [_collect(bench, theta, seed, index) for index in range(bench.sizes.pool)]
    _plant(pool, seed)
    held = bench.draw_held(seed)
    before = _mean_loss(bench, theta, held)
    digest = canonical.digest([batch.digest for batch in held])
    found = []
    for navg in bench.config.navg:
        for start in range(0, len(pool) - navg + 1, navg):
            part = pool[start : start + navg]
            rows = Rows(seed, f"avg-s{seed}-n{navg}-b{start}", digest)
            means = {arm: average([one[arm] for one in part]) for arm in part[0]}
            exact = flatten(means["bptt"])
            for arm, mean in means.items():
                cell = {"navg": navg}
                if arm != "bptt":
                    rows.add(arm, "navg_cosine", cosine(flatten(mean), exact), cell)
                if not arm.startswith("planted"):
                    moved = _mean_loss(bench, _step(theta, mean), held)
                    rows.add(arm, "loss_change", moved - before, cell)
            found.append(rows)
    return found


def _collect(bench: Bench, theta: Parameters, seed: int, index: int) -> dict[str, Gradients]:
    batch = bench.draw("averaging", seed, index)
    rest = rest_on(bench.block, theta, batch, bench.sizes.relax_steps).z
    t2 = bench.sizes.snapshots[0]
    found = {
        "bptt": differentiate_exactly(
            bench.block, theta, batch, rest, horizon=bench.sizes.horizons[-1]
        )
    }
    methods: tuple[Method, ...] = ("frozen", "tracking")
    for method in methods:
        nudge = Nudge(method, 2, bench.config.late_radius)
        course = run_nudged(bench.block, theta, batch, rest, nudge, snapshots=(t2,))
        found[method] = differentiate_by_contrast(
            bench.block, theta, batch, rest, course.contrasts[t2]
        )
    return found


def _plant(pool: list[dict[str, Gradients]], seed: int) -> None:
    """Two estimators whose fault is known, each `PLANTED` times as long as the exact gradient.

    The noise sums to nothing over the pool: averaging takes it off, whatever the gradients do.
    """
    fixed = _draw_like(average([one["bptt"] for one in pool]), ("bias", seed))
    noises = [_draw_like(one["bptt"], ("noise", seed, index)) for index, one in enumerate(pool)]
    common = average(noises)
    for one, noise in zip(pool, noises, strict=True):
        left = {name: value - common[name] for name, value in noise.items()}
        one["planted_noise"] = _sum(one["bptt"], left)
        one["planted_bias"] = _sum(one["bptt"], fixed)


def _draw_like(gradients: Gradients, name: tuple[object, ...]) -> Gradients:
    source = make_generator("planted", *name)
    drawn = {
        key: torch.randn(value.shape, generator=source).to(value.device)
        for key, value in gradients.items()
    }
    scale = PLANTED * flatten(gradients).norm() / flatten(drawn).norm()
    return {key: value * float(scale) for key, value in drawn.items()}


def _sum(one: Gradients, two: Gradients) -> Gradients:
    return {name: value + two[name] for name, value in one.items()}


def _step(theta: Parameters, gradients: Gradients) -> dict[str, Tensor]:
    """One step of a set length against a gradient, the readout held: only directions differ."""
    length = float(flatten(gradients).norm())
    scale = STEP_LENGTH / max(length, 1e-30)
    return {
        name: value - scale * gradients[name] if is_contrast_driven(name) else value
        for name, value in theta.items()
    }


def _mean_loss(bench: Bench, theta: Parameters, held: list[Batch]) -> float:
    losses = evaluate(bench.block, theta, held, relax_steps=bench.sizes.relax_steps)
    return float(sum(loss for loss, _ in losses) / len(losses))
