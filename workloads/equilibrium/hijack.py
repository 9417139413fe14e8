"""The controller's hijack: how much of an update is the loss, and how much the penalty."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workloads.equilibrium.bench import Bench, Rows
from workloads.equilibrium.block import GROUPS, Parameters
from workloads.equilibrium.gradients import Gradients, cosine, flatten, track, unroll
from workloads.equilibrium.training import penalise, rest_on


def decompose(bench: Bench, theta: Parameters, seed: int, index: int) -> Rows:
    """Rows of one batch: the two terms at every penalty weight of the rescue grid."""
    batch = bench.draw("hijack", seed, index)
    rows = Rows(seed, f"hijack-s{seed}-b{index}", batch.digest)
    leaves = track(theta)
    rest = rest_on(bench.block, theta, batch, bench.sizes.relax_steps).z
    loss, z = unroll(bench.block, leaves, batch, rest, horizon=bench.sizes.horizon)
    penalty = penalise(bench.block, leaves, batch, z, name=(rows.unit,))
    task = _differentiate(loss, leaves)
    stable = _differentiate(penalty, leaves)
    one, two = flatten(task), flatten(stable)
    rows.add("terms", "terms_cosine", cosine(one, two))
    for weight in (value for value in bench.config.ceilings if value > 0):
        cell = {"jr": f"{weight:g}"}
        rows.add("terms", "penalty_share", float(weight * two.norm() / one.norm()), cell)
        rows.add("terms", "update_cosine", cosine(one, one + weight * two), cell)
    for group in GROUPS:
        share = flatten(stable, group).norm() / flatten(task, group).norm().clamp_min(1e-30)
        rows.add("terms", "group_penalty", math.log10(max(float(share), 1e-12)), {"group": group})
    return rows


def _differentiate(value: Tensor, leaves: dict[str, Tensor]) -> Gradients:
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if slope is None else slope
        for (name, leaf), slope in zip(leaves.items(), found, strict=True)
    }
