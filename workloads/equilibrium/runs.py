"""Rounds C, follow-on and structure: training runs that differ in one thing each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from bridge import canonical
from workloads.equilibrium.bench import Bench, Rows
from workloads.equilibrium.block import Block
from workloads.equilibrium.gradients import (
    cosine,
    differentiate_by_contrast,
    differentiate_exactly,
    flatten,
)
from workloads.equilibrium.nudging import Nudge, run_nudged
from workloads.equilibrium.relaxation import measure_asymmetry
from workloads.equilibrium.text import Batch
from workloads.equilibrium.training import (
    BROKEN_RESIDUAL,
    Controller,
    Recipe,
    Trained,
    evaluate,
    rest_on,
    train,
)

SETTLED = 1e-2
FLOOR = 0.1
SPECTRAL_LIMIT = 0.9
FOLLOW_RATE = 0.002


def rescue(bench: Bench, theta: dict[str, Tensor], rate: float, ceiling: float, seed: int) -> Rows:
    """Round C: exact gradients from the checkpoint at one learning rate and one penalty ceiling."""
    recipe = bench.make_recipe(bench.sizes.rescue_steps, rate, Controller(ceiling=ceiling))
    trained = train(bench.block, theta, bench.text, recipe, name=("rescue", seed))
    rows = Rows(seed, f"rescue-s{seed}", canonical.digest(["rescue", seed]))
    cell = {"rate": f"{rate:g}", "jr_max": f"{ceiling:g}"}
    _write_run(bench, bench.block, rows, "bptt", theta, trained, cell, "rescue")
    return rows


def follow(bench: Bench, start: dict[str, Tensor], arm: str, seed: int) -> Rows:
    """The follow-on: does an estimator go on descending where the checkpoint stands?"""
    nudges = {
        "exact_warm": None,
        "frozen_warm": Nudge("frozen", 2, bench.config.late_radius),
        "tracking_warm": Nudge("tracking", 2, bench.config.late_radius),
        "tracking_fresh": Nudge("tracking", 2, bench.config.late_radius),
    }
    fresh = arm == "tracking_fresh"
    theta = bench.start_parameters(seed) if fresh else start
    recipe = replace(
        bench.make_recipe(bench.sizes.following_steps, FOLLOW_RATE, Controller()),
        nudge=nudges[arm],
        nudge_steps=bench.sizes.snapshots[0],
    )
    trained = train(bench.block, theta, bench.text, recipe, name=("following", seed))
    rows = Rows(seed, f"following-s{seed}", canonical.digest(["following", seed]))
    _write_run(bench, bench.block, rows, arm, theta, trained, {}, "following")
    return rows


FOLLOWERS = ("exact_warm", "frozen_warm", "tracking_warm", "tracking_fresh")


@dataclass(frozen=True, slots=True)
class Structure:
    """A structural arm: what stands in for the adaptive penalty."""

    controller: Controller = field(default_factory=Controller)
    spectral_limit: float | None = None
    attention: str = "softmax"
    last_only: bool = False


def list_structures(ceiling: float) -> dict[str, Structure]:
    """The arms; `energy` predicts only the last character of a row, and so does its control."""
    return {
        "adaptive": Structure(Controller(ceiling=ceiling)),
        "floor": Structure(Controller(start=FLOOR, floor=FLOOR, ceiling=FLOOR)),
        "no_penalty": Structure(),
        "specnorm": Structure(spectral_limit=SPECTRAL_LIMIT),
        "mono": Structure(attention="mono"),
        "energy": Structure(attention="energy", last_only=True),
        "softmax_last": Structure(Controller(ceiling=ceiling), last_only=True),
    }


def build(bench: Bench, arm: str, seed: int) -> Rows:
    """One structural arm from scratch, and what its block is like afterwards."""
    structure = list_structures(bench.config.ceiling)[arm]
    block = Block(replace(bench.make_shape(), attention=structure.attention))  # type: ignore[arg-type]
    theta = block.make_parameters(seed, device=bench.config.device)
    recipe = replace(
        bench.make_recipe(
            bench.sizes.structure_steps, bench.config.rate, structure.controller
        ),
        spectral_limit=structure.spectral_limit,
        last_only=structure.last_only,
    )  # fmt: skip
    trained = train(block, theta, bench.text, recipe, name=("structure", seed))
    rows = Rows(seed, f"structure-s{seed}", canonical.digest(["structure", seed]))
    _write_run(bench, block, rows, arm, theta, trained, {}, "structure", recipe=recipe)
    _inspect(bench, block, theta, trained.theta, rows, arm)
    return rows


def _write_run(
    bench: Bench, block: Block, rows: Rows, arm: str, start: dict[str, Tensor], trained: Trained,
    cell: dict[str, str], prefix: str, *, recipe: Recipe | None = None,
) -> None:  # fmt: skip
    last_only = recipe is not None and recipe.last_only
    held = bench.draw_held(rows.seed)
    ends = {}
    for when, theta in (("start", start), ("end", trained.theta)):
        found = evaluate(
            block, theta, held, relax_steps=bench.sizes.relax_steps, last_only=last_only
        )
        ends[when] = sum(loss for loss, _ in found) / len(found)
        worst = max(residual for _, residual in found)
    broke = trained.broke_at is not None or worst >= BROKEN_RESIDUAL
    rows.add(arm, f"{prefix}_loss", ends["end"], cell)
    rows.add(arm, f"{prefix}_gain", ends["start"] - ends["end"], cell)
    rows.add(arm, f"{prefix}_broke", broke, cell)
    rows.add(arm, f"{prefix}_residual", worst, cell)
    rows.add(arm, f"{prefix}_settled", worst < SETTLED, cell)
    rows.add(arm, f"{prefix}_steps", len(trained.losses), cell)
    rows.add(arm, f"{prefix}_jr_peak", max(trained.weights, default=0.0), cell)


def _inspect(
    bench: Bench, block: Block, start: dict[str, Tensor], end: dict[str, Tensor], rows: Rows,
    arm: str,
) -> None:  # fmt: skip
    batch = bench.draw("inspect", rows.seed)
    for state, theta in (("init", start), ("trained", end)):
        cell = {"state": state}
        rest = rest_on(block, theta, batch, bench.sizes.relax_steps).z
        x = block.embed(theta, batch.inputs)
        _, ratio = measure_asymmetry(block, theta, x, rest, name=(rows.unit, arm))
        rows.add(arm, "structure_asymmetry", min(ratio, 1e6), cell)
        rows.add(arm, "leak", _measure_leak(bench, block, theta, rows.seed), cell)
        if arm in ("adaptive", "energy"):
            found = _compare_plain(bench, block, theta, batch, rest)
            rows.add(arm, "plain_cosine", found, cell)


def _compare_plain(
    bench: Bench, block: Block, theta: dict[str, Tensor], batch: Batch, rest: Tensor
) -> float:
    """Cosine of plain propagation with the exact gradient: 1 where the Jacobian is symmetric."""
    t2 = bench.sizes.snapshots[-1]
    exact = differentiate_exactly(block, theta, batch, rest, horizon=bench.sizes.horizons[-1])
    course = run_nudged(block, theta, batch, rest, Nudge("plain"), snapshots=(t2,))
    estimate = differentiate_by_contrast(block, theta, batch, rest, course.contrasts[t2])
    return cosine(flatten(estimate), flatten(exact))


def _measure_leak(bench: Bench, block: Block, theta: dict[str, Tensor], seed: int) -> float:
    """How far the first positions' state moves when only the last character changes, relative."""
    batch = bench.draw("leak", seed)
    changed = batch.inputs.clone()
    changed[:, -1] = (changed[:, -1] + 1) % theta["tok"].shape[0]
    rests = [
        rest_on(block, theta, replace(batch, inputs=inputs), bench.sizes.relax_steps).z[:, :-1]
        for inputs in (batch.inputs, changed)
    ]
    return float((rests[0] - rests[1]).norm() / rests[0].norm())
