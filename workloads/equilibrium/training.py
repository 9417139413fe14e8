"""Training a block: exact or contrast gradients, a Jacobian penalty, and what keeps it stable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.equilibrium.block import Block, Parameters
from workloads.equilibrium.gradients import (
    Gradients,
    differentiate_by_contrast,
    track,
    unroll,
)
from workloads.equilibrium.nudging import Nudge, run_nudged
from workloads.equilibrium.relaxation import Rest, relax
from workloads.equilibrium.text import ALPHABET, Batch, Text, make_generator

BROKEN_RESIDUAL = 0.2
BROKEN_LOSS = 2 * math.log(len(ALPHABET))
_CLIP = 1.0
_BETAS = (0.9, 0.98)
_RAISE, _LOWER = 1.3, 0.97
_ATTENTION = ("wq", "wk", "wv", "wo")


@dataclass(frozen=True, slots=True)
class Controller:
    """The weight of the Jacobian penalty, and when it changes.

    Attributes:
        start: the weight at first.
        floor: least weight.
        ceiling: greatest weight (`jr_max` in the document); equal to the floor: no control.
        target: residual of the free phase above which the weight rises by 1.3, below which it
            falls by 0.97.
    """

    start: float = 0.0
    floor: float = 0.0
    ceiling: float = 0.0
    target: float = 1e-3

    def adjust(self, weight: float, residual: float) -> float:
        """The weight after a step that ended at `residual`."""
        wanted = max(weight, 0.05) * _RAISE if residual > self.target else weight * _LOWER
        return min(self.ceiling, max(self.floor, wanted))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a block is trained.

    Attributes:
        steps: gradient steps.
        rate: peak learning rate of Adam, after 10 steps of linear warm-up.
        rows: rows in a batch.
        horizon: unrolled steps of exact gradients and of the penalty's own state.
        relax_steps: Euler steps of the free phase at most.
        nudge: the estimator; None for exact gradients.
        nudge_steps: T2, Euler steps of its nudged phase.
        controller: of the Jacobian penalty.
        spectral_limit: greatest spectral norm of the attention's weights, set after each step
            outside the gradient; None for no limit.
        last_only: whether only the last character of a row is predicted.
    """

    steps: int
    rate: float
    rows: int
    horizon: int
    relax_steps: int
    nudge: Nudge | None = None
    nudge_steps: int = 20
    controller: Controller = Controller()
    spectral_limit: float | None = None
    last_only: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """What training came to.

    Attributes:
        theta: the last sound parameters.
        losses: mean training loss in nats of each step.
        residuals: of the free phase at each step.
        weights: of the penalty at each step.
        broke_at: the step at which the loss or the residual ran away, None where neither did.
    """

    theta: dict[str, Tensor]
    losses: tuple[float, ...]
    residuals: tuple[float, ...]
    weights: tuple[float, ...]
    broke_at: int | None


def train(
    block: Block,
    theta: Parameters,
    text: Text,
    recipe: Recipe,
    *,
    name: tuple[object, ...],
    on_step: Callable[[int], None] | None = None,
) -> Trained:
    """Train from `theta`; the batches follow from `name`. Ends early where the block breaks."""
    # Copies: the optimizer writes in place, and the checkpoint must outlive this run.
    leaves = track({key: value.clone() for key, value in theta.items()})
    optimizer = torch.optim.Adam(list(leaves.values()), lr=recipe.rate, betas=_BETAS)
    weight = recipe.controller.start
    losses: list[float] = []
    residuals: list[float] = []
    weights: list[float] = []
    sound = {key: value.detach().clone() for key, value in leaves.items()}
    for step in range(recipe.steps):
        batch = text.draw(("train", *name, step), rows=recipe.rows, length=block.shape.length)
        rest = rest_on(block, leaves, batch, recipe.relax_steps)
        loss, gradients = _differentiate(block, leaves, batch, rest, recipe, weight, (*name, step))
        if (
            not rest.residual < BROKEN_RESIDUAL
            or not loss < BROKEN_LOSS
            or not _is_sound(gradients)
        ):
            return Trained(sound, tuple(losses), tuple(residuals), tuple(weights), step)
        sound = {key: value.detach().clone() for key, value in leaves.items()}
        _take_step(optimizer, leaves, gradients, recipe.rate * min(1.0, (step + 1) / 10))
        if recipe.spectral_limit is not None:
            limit_spectra(leaves, recipe.spectral_limit)
        losses.append(loss)
        residuals.append(rest.residual)
        weights.append(weight)
        weight = recipe.controller.adjust(weight, rest.residual)
        if on_step is not None:
            on_step(step + 1)
    final = {key: value.detach().clone() for key, value in leaves.items()}
    return Trained(final, tuple(losses), tuple(residuals), tuple(weights), None)


def rest_on(block: Block, theta: Parameters, batch: Batch, max_steps: int) -> Rest:
    """The free phase of a batch."""
    with torch.no_grad():
        x = block.embed(theta, batch.inputs)
    rest: Rest = relax(block, theta, x, max_steps=max_steps)
    return rest


@torch.no_grad()  # type: ignore[untyped-decorator]
def evaluate(
    block: Block,
    theta: Parameters,
    batches: list[Batch],
    *,
    relax_steps: int,
    last_only: bool = False,
) -> list[tuple[float, float]]:
    """(mean loss in nats per character, residual) of each batch."""
    found = []
    for batch in batches:
        rest = rest_on(block, theta, batch, relax_steps)
        loss = block.loss(theta, rest.z, batch.targets, last_only=last_only)
        count = batch.targets.shape[0] if last_only else batch.targets.numel()
        found.append((_bound(float(loss) / count), min(rest.residual, BROKEN_RESIDUAL)))
    return found


def penalise(
    block: Block, leaves: Parameters, batch: Batch, z: Tensor, *, name: tuple[object, ...]
) -> Tensor:
    """|v'(J + I)|^2 / |v|^2 for one random v: Hutchinson's estimate of the Jacobian's size.

    Source: Bai et al., Stabilizing Equilibrium Models by Jacobian Regularization
    (arXiv:2106.14342).
    """
    held = z.detach().requires_grad_()
    moved = held + block.force(leaves, held, block.embed(leaves, batch.inputs))
    v = torch.randn(held.shape, generator=make_generator("penalty", *name)).to(z.device)
    (pulled,) = torch.autograd.grad(moved, held, v, create_graph=True)
    return pulled.square().sum() / v.square().sum()


@torch.no_grad()  # type: ignore[untyped-decorator]
def limit_spectra(theta: Parameters, limit: float) -> None:
    """Shrink the attention's weights in place to a spectral norm of at most `limit`."""
    for name in _ATTENTION:
        norm = torch.linalg.matrix_norm(theta[name], 2)
        theta[name].mul_(min(1.0, limit / float(norm)))


def _differentiate(
    block: Block,
    leaves: dict[str, Tensor],
    batch: Batch,
    rest: Rest,
    recipe: Recipe,
    weight: float,
    name: tuple[object, ...],
) -> tuple[float, Gradients]:
    if recipe.nudge is None:
        loss, z = unroll(
            block, leaves, batch, rest.z, horizon=recipe.horizon, last_only=recipe.last_only
        )
        total = loss
        if weight > 0:
            total = loss + weight * penalise(block, leaves, batch, z, name=name)
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return float(loss.detach()), {
            key: torch.zeros_like(leaf) if value is None else value
            for (key, leaf), value in zip(leaves.items(), found, strict=True)
        }
    course = run_nudged(
        block, {key: leaf.detach() for key, leaf in leaves.items()}, batch, rest.z, recipe.nudge,
        snapshots=(recipe.nudge_steps,),
    )  # fmt: skip
    contrast = course.contrasts[recipe.nudge_steps]
    gradients = differentiate_by_contrast(block, leaves, batch, rest.z, contrast)
    with torch.no_grad():
        loss = block.loss(leaves, rest.z, batch.targets) / batch.targets.numel()
    return float(loss.detach()), gradients


def _take_step(
    optimizer: torch.optim.Optimizer, leaves: dict[str, Tensor], gradients: Gradients, rate: float
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    for name, leaf in leaves.items():
        leaf.grad = gradients[name].clone()
    torch.nn.utils.clip_grad_norm_(list(leaves.values()), _CLIP)
    optimizer.step()


def _is_sound(gradients: Gradients) -> bool:
    return all(bool(value.isfinite().all()) for value in gradients.values())


def _bound(loss: float) -> float:
    return loss if loss < BROKEN_LOSS else BROKEN_LOSS
