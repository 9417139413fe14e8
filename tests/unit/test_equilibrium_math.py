"""The block, its rest, the nudged phases and the gradients, against dense linear algebra."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from workloads.equilibrium.block import GROUPS, Block, Shape, is_contrast_driven
from workloads.equilibrium.gradients import (
    cosine,
    differentiate_by_contrast,
    differentiate_exactly,
    flatten,
)
from workloads.equilibrium.nudging import Nudge, run_nudged
from workloads.equilibrium.relaxation import Swirl, measure_asymmetry, relax
from workloads.equilibrium.text import Batch, Text
from workloads.equilibrium.training import (
    BROKEN_LOSS,
    Controller,
    Recipe,
    evaluate,
    limit_spectra,
    train,
)

PROSE = "a block settles when every force on it has died away; then a nudge tells it more. " * 90
TEXT = Text.encode(PROSE)
ROWS, LENGTH, WIDTH = 2, 6, 8


@dataclass
class Case:
    """A small block at rest on one batch, with its dense Jacobian and loss slope."""

    block: Block
    theta: dict[str, torch.Tensor]
    batch: Batch
    x: torch.Tensor
    rest: torch.Tensor
    jacobian: torch.Tensor
    slope: torch.Tensor

    @property
    def adjoint(self) -> torch.Tensor:
        """-J'^-1 dL/dz, the contrast that exact gradients need."""
        solved = torch.linalg.solve(self.jacobian.T, self.slope.flatten())
        return -solved.reshape(self.rest.shape)


def make_case(attention: Any = "softmax") -> Case:
    block = Block(Shape(WIDTH, 2, LENGTH, attention))
    theta = block.make_parameters(3)
    batch = TEXT.draw(["math"], rows=ROWS, length=LENGTH)
    x = block.embed(theta, batch.inputs)
    rest = relax(block, theta, x, max_steps=600)
    assert rest.residual < 1e-4

    def flat(z: torch.Tensor) -> torch.Tensor:
        return block.force(theta, z.reshape(x.shape), x).flatten()

    jacobian = torch.autograd.functional.jacobian(flat, rest.z.flatten())
    slope = block.loss_slope(theta, rest.z, batch.targets)
    return Case(block, theta, batch, x, rest.z, jacobian, slope)


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.mark.parametrize("attention", ["softmax", "energy", "mono"])
def test_a_complex_step_along_u_gives_the_jacobian_times_u(attention: Any) -> None:
    one = make_case(attention)
    if attention != "softmax":
        # These hold functions of real states alone; only softmax blocks are nudged off the line.
        assert one.block.force(one.theta, one.rest, one.x).shape == one.rest.shape
        return
    u = torch.randn(one.rest.shape, generator=torch.Generator().manual_seed(1))
    moved = one.block.force(one.theta, torch.complex(one.rest, 1e-3 * u), one.x)
    expected = (one.jacobian @ u.flatten()).reshape(u.shape)
    assert torch.allclose(moved.imag / 1e-3, expected, atol=1e-3)
    assert torch.allclose(moved.real, one.block.force(one.theta, one.rest, one.x), atol=1e-4)


def test_the_slope_of_the_loss_is_analytic(case: Case) -> None:
    u = torch.randn(case.rest.shape, generator=torch.Generator().manual_seed(2))
    turned = case.block.loss(case.theta, torch.complex(case.rest, 1e-3 * u), case.batch.targets)
    assert float(turned.imag) / 1e-3 == pytest.approx(float((case.slope * u).sum()), rel=1e-2)
    lifted = case.block.loss_slope(case.theta, case.rest.to(torch.complex64), case.batch.targets)
    assert torch.allclose(lifted.real, case.slope, atol=1e-5)
    assert float(lifted.imag.abs().max()) < 1e-6


def test_the_swirl_is_the_jacobian_less_its_transpose(case: Case) -> None:
    u = torch.randn(case.rest.shape, generator=torch.Generator().manual_seed(4))
    swirl = Swirl(case.block, case.theta, case.x, case.rest)
    skew = case.jacobian - case.jacobian.T
    assert torch.allclose(swirl(u).flatten(), skew @ u.flatten(), atol=1e-4)
    assert torch.allclose(swirl.push(u).flatten(), case.jacobian @ u.flatten(), atol=1e-4)
    assert torch.allclose(swirl.pull(u).flatten(), case.jacobian.T @ u.flatten(), atol=1e-4)


def test_unrolling_far_enough_gives_the_implicit_gradient(case: Case) -> None:
    implicit = differentiate_by_contrast(
        case.block, case.theta, case.batch, case.rest, case.adjoint
    )
    far = differentiate_exactly(case.block, case.theta, case.batch, case.rest, horizon=150)
    near = differentiate_exactly(case.block, case.theta, case.batch, case.rest, horizon=2)
    assert cosine(flatten(far), flatten(implicit)) > 0.9999
    assert float(flatten(far).norm() / flatten(implicit).norm()) == pytest.approx(1, abs=1e-3)
    assert cosine(flatten(near), flatten(implicit)) < 0.99
    assert torch.allclose(far["head"], implicit["head"], atol=1e-4)


@pytest.mark.parametrize("points", [2, 4, 8])
@pytest.mark.parametrize("method", ["frozen", "tracking"])
def test_both_corrections_give_the_adjoint(case: Case, method: Any, points: int) -> None:
    course = run_nudged(
        case.block, case.theta, case.batch, case.rest, Nudge(method, points, 0.02),
        snapshots=(20, 150),
    )  # fmt: skip
    contrast = course.contrasts[150]
    assert course.diverged_at is None
    assert float((contrast - case.adjoint).norm() / case.adjoint.norm()) < 0.02
    assert 0 < course.distances[150] < 1
    assert 5 <= course.adaptive_step <= 150


def test_no_correction_is_wrong_on_attention_and_right_on_an_energy(case: Case) -> None:
    for one, right in ((case, False), (make_case("energy"), True)):
        course = run_nudged(
            one.block, one.theta, one.batch, one.rest, Nudge("plain"), snapshots=(200,)
        )
        error = float((course.contrasts[200] - one.adjoint).norm() / one.adjoint.norm())
        assert (error < 0.02) is right
        _, ratio = measure_asymmetry(one.block, one.theta, one.x, one.rest, name=("t",))
        assert (ratio < 1e-4) is right


def test_a_large_radius_runs_away_and_is_told(case: Case) -> None:
    course = run_nudged(
        case.block, case.theta, case.batch, case.rest, Nudge("frozen", 2, 1e5), snapshots=(10, 40)
    )
    assert course.diverged_at is not None
    assert course.contrasts[40].isfinite().all()


def test_a_clamp_bounds_the_push_of_every_position(case: Case) -> None:
    free = run_nudged(
        case.block, case.theta, case.batch, case.rest, Nudge("frozen"), snapshots=(30,)
    )
    held = run_nudged(
        case.block, case.theta, case.batch, case.rest, Nudge("frozen", clamp=0.5), snapshots=(30,)
    )
    assert float(held.contrasts[30].norm()) < 0.7 * float(free.contrasts[30].norm())


def test_later_characters_move_earlier_states_only_under_an_energy() -> None:
    for attention, leaks in (("softmax", False), ("mono", False), ("energy", True)):
        one = make_case(attention)
        changed = one.batch.inputs.clone()
        changed[:, -1] = (changed[:, -1] + 1) % 40
        x = one.block.embed(one.theta, changed)
        moved = relax(one.block, one.theta, x, max_steps=600).z[:, :-1]
        assert bool((moved - one.rest[:, :-1]).norm() > 1e-3) is leaks


def test_groups_cover_what_the_contrast_drives() -> None:
    theta = Block(Shape(WIDTH, 2, LENGTH)).make_parameters(0)
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(name for name in theta if is_contrast_driven(name))


def test_a_direction_that_is_lost_has_cosine_0() -> None:
    one = torch.ones(3, dtype=torch.float64)
    assert cosine(one, 2 * one) == pytest.approx(1)
    assert cosine(one, 0 * one) == 0
    assert cosine(one, one * math.inf) == 0


def test_the_controller_raises_falls_and_keeps_its_bounds() -> None:
    controller = Controller(floor=0.1, ceiling=2.0, target=1e-3)
    assert controller.adjust(1.0, 1e-2) > 1.0
    assert controller.adjust(1.0, 1e-4) < 1.0
    assert controller.adjust(1.9, 1.0) == 2.0
    assert controller.adjust(0.1, 0.0) == 0.1
    off = Controller()
    assert off.adjust(0.0, 1.0) == 0.0


def test_a_broken_block_is_scored_finitely(case: Case) -> None:
    wild = {name: value * 50 for name, value in case.theta.items()}
    for loss, residual in evaluate(case.block, wild, [case.batch], relax_steps=30):
        assert loss <= BROKEN_LOSS
        assert math.isfinite(residual)


@pytest.mark.parametrize("nudge", [None, Nudge("tracking", 2, 0.05)])
def test_training_lowers_the_loss_and_leaves_its_start_alone(case: Case, nudge: Any) -> None:
    before = {name: value.clone() for name, value in case.theta.items()}
    recipe = Recipe(
        steps=25, rate=5e-3, rows=4, horizon=10, relax_steps=60, nudge=nudge, nudge_steps=10
    )
    trained = train(case.block, case.theta, TEXT, recipe, name=("t",))
    assert trained.broke_at is None
    assert len(trained.losses) == recipe.steps
    assert sum(trained.losses[-5:]) < sum(trained.losses[:5])
    for name, value in before.items():
        assert torch.equal(case.theta[name], value)
        assert not torch.equal(trained.theta[name], value)


def test_a_run_that_breaks_ends_with_its_last_sound_weights(case: Case) -> None:
    recipe = Recipe(steps=40, rate=5.0, rows=4, horizon=10, relax_steps=40)
    trained = train(case.block, case.theta, TEXT, recipe, name=("wild",))
    assert trained.broke_at is not None
    assert trained.broke_at == len(trained.losses) < recipe.steps
    assert all(value.isfinite().all() for value in trained.theta.values())


def test_spectra_are_limited_in_place() -> None:
    theta = Block(Shape(WIDTH, 2, LENGTH)).make_parameters(0)
    limit_spectra(theta, 0.5)
    assert float(torch.linalg.matrix_norm(theta["wq"], 2)) <= 0.5 + 1e-5


def test_the_held_out_tail_is_no_part_of_training() -> None:
    text = Text.encode(PROSE)
    assert len(text.train) + len(text.held) == len(PROSE)
    one = text.draw(["a", 1], rows=3, length=5)
    assert one.digest == text.draw(["a", 1], rows=3, length=5).digest
    assert one.digest != replace(one, inputs=one.targets).digest
