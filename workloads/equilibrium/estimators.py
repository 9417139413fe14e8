"""Rounds A and D: every estimator against the exact gradient, as a whole and group by group."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from workloads.equilibrium.bench import Bench, Rows
from workloads.equilibrium.block import GROUPS, Block, Parameters
from workloads.equilibrium.gradients import (
    Gradients,
    cosine,
    differentiate_by_contrast,
    differentiate_exactly,
    flatten,
)
from workloads.equilibrium.nudging import Course, Method, Nudge, run_nudged
from workloads.equilibrium.relaxation import measure_asymmetry
from workloads.equilibrium.text import Batch
from workloads.equilibrium.training import rest_on

Estimates = dict[tuple[str, tuple[tuple[str, str], ...]], Tensor]

CLAMP_MEDIANS = 1.0
LONG = 1e-12


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to estimate: a method, N points, a radius."""

    method: Method
    points: int
    radius: float


def list_conditions(radii: tuple[float, ...], late_radius: float) -> list[Condition]:
    """N = 2 at every radius; more points from the late radius on, where they could help."""
    return [
        Condition("plain", 2, min(radii)),
        *(Condition("frozen", 2, radius) for radius in radii),
        *(Condition("frozen", 4, radius) for radius in radii if radius >= late_radius),
        Condition("frozen", 8, late_radius),
        *(Condition("tracking", 2, radius) for radius in radii),
        Condition("tracking", 4, late_radius),
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """One batch on one block: its rest, and exact gradients by horizon."""

    block: Block
    theta: Parameters
    batch: Batch
    rest: Tensor
    exact: dict[int, Gradients]

    @property
    def reference(self) -> Gradients:
        """The exact gradients of the longest horizon."""
        return self.exact[max(self.exact)]

    def estimate(self, contrast: Tensor) -> Gradients:
        """The gradients that a contrast gives."""
        return differentiate_by_contrast(self.block, self.theta, self.batch, self.rest, contrast)


def compare_pair(bench: Bench, theta: Parameters, state: str, seed: int, index: int) -> list[Rows]:
    """Rows of two batches; the self-cosine is that of one estimator on the two."""
    found, estimates = [], []
    for half in range(2):
        name = ("estimators", state, seed, 2 * index + half)
        batch = bench.draw(*name)
        rows = Rows(seed, f"{state}-s{seed}-b{2 * index + half}", batch.digest)
        case = _make_case(bench, theta, batch, rows, state)
        estimates.append(_compare(bench, case, rows, state))
        if state == "trained":
            _localise(bench, case, rows)
        found.append(rows)
    for key, vector in estimates[0].items():
        arm, cell = key
        found[0].add(arm, "self_cosine", cosine(vector, estimates[1][key]), dict(cell))
    return found


def _make_case(bench: Bench, theta: Parameters, batch: Batch, rows: Rows, state: str) -> Case:
    rest = rest_on(bench.block, theta, batch, bench.sizes.relax_steps)
    exact = {
        horizon: differentiate_exactly(bench.block, theta, batch, rest.z, horizon=horizon)
        for horizon in bench.sizes.horizons
    }
    case = Case(bench.block, theta, batch, rest.z, exact)
    reference = flatten(case.reference)
    for horizon, gradients in exact.items():
        cell = {"state": state, "horizon": str(horizon)}
        rows.add("bptt", "horizon_cosine", cosine(flatten(gradients), reference), cell)
    x = bench.block.embed(theta, batch.inputs)
    swirl, ratio = measure_asymmetry(bench.block, theta, x, rest.z, name=(rows.unit,))
    rows.add("block", "rest_residual", min(rest.residual, 1e6), {"state": state})
    rows.add("block", "rest_steps", rest.steps, {"state": state})
    rows.add("block", "swirl", swirl, {"state": state})
    rows.add("block", "asymmetry", ratio, {"state": state})
    return case


def _compare(bench: Bench, case: Case, rows: Rows, state: str) -> Estimates:
    """Rows of every condition and T2; returns the estimates by arm and cell."""
    config, sizes = bench.config, bench.sizes
    reference = flatten(case.reference)
    found: Estimates = {("bptt", (("state", state),)): reference}
    for one in list_conditions(config.radii, config.late_radius):
        nudge = Nudge(one.method, one.points, one.radius)
        course: Course = run_nudged(
            case.block, case.theta, case.batch, case.rest, nudge, snapshots=sizes.snapshots
        )
        contrasts = {str(step): contrast for step, contrast in course.contrasts.items()}
        contrasts["adaptive"] = course.adaptive
        place = {"state": state, "points": str(one.points), "radius": f"{one.radius:g}"}
        for t2, contrast in contrasts.items():
            cell = place | {"t2": t2}
            vector = flatten(case.estimate(contrast))
            rows.add(one.method, "cosine", cosine(vector, reference), cell)
            rows.add(one.method, "magnitude", measure_magnitude(vector, reference), cell)
            found[(one.method, tuple(sorted(cell.items())))] = vector
        rows.add(one.method, "selected_t2", course.adaptive_step, place)
        rows.add(one.method, "diverged", course.diverged_at is not None, place)
    return found


def _localise(bench: Bench, case: Case, rows: Rows) -> None:
    """Round D at the late radius and the first T2: by group, with the three diagnostics."""
    radius, t2 = bench.config.late_radius, bench.sizes.snapshots[0]
    arms = {
        "frozen": Nudge("frozen", 2, radius),
        "clamped": Nudge("frozen", 2, radius, clamp=CLAMP_MEDIANS),
        "tracking": Nudge("tracking", 2, radius),
    }
    for arm, nudge in arms.items():
        course = run_nudged(case.block, case.theta, case.batch, case.rest, nudge, snapshots=(t2,))
        estimate = case.estimate(course.contrasts[t2])
        cosines = []
        for group in GROUPS:
            mine, exact = flatten(estimate, group), flatten(case.reference, group)
            cosines.append(cosine(mine, exact))
            rows.add(arm, "group_cosine", cosines[-1], {"group": group})
            rows.add(arm, "group_magnitude", measure_magnitude(mine, exact), {"group": group})
        rows.add(arm, "group_spread", max(cosines) - min(cosines))
        _diagnose(rows, arm, course, t2)


def _diagnose(rows: Rows, arm: str, course: Course, t2: int) -> None:
    rows.add(arm, "contrast_norm", float(course.contrasts[t2].norm()))
    rows.add(arm, "nudged_distance", course.distances[t2])
    rows.add(arm, "late_selected_t2", course.adaptive_step)


def measure_magnitude(one: Tensor, two: Tensor) -> float:
    """log10 |one| / |two|: 0 where the lengths agree."""
    return math.log10(max(float(one.norm()), LONG) / max(float(two.norm()), LONG))
