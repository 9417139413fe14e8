"""Graders, policy, directions and filters, each against what it must do."""

from __future__ import annotations

import pytest
import torch

from workloads.routing.arms import ARMS
from workloads.routing.config import ARM_NAMES, Config
from workloads.routing.directions import (
    align,
    draw_basis,
    extract,
    project_out,
    write_pairs,
)
from workloads.routing.environment import (
    HACKABLE,
    LENGTH,
    MODES,
    draw_prompts,
    grade,
    write_answers,
)
from workloads.routing.policy import ROUTED, log_chances, make_parameters, sample, trace
from workloads.routing.training import make_source, train_base, train_routed

CONFIG = Config(scale="ci", seeds=(0, 1))


def make_theta(width: int = 12) -> dict[str, torch.Tensor]:
    return make_parameters(make_source("test"), width, 2)


def test_honest_answers_solve_and_hacks_fool_their_own_grader_alone() -> None:
    source = make_source("graders")
    prompts = draw_prompts(source, 400)
    honest = grade(prompts, write_answers(prompts, source, hacks=False))
    assert honest.solved.all()
    assert not honest.hacked.any()
    for mode in HACKABLE:
        grades = grade(prompts, write_answers(prompts, source, hacks=True, mode=mode))
        fooled = {MODES[int(place)] for place in prompts.mode[grades.hacked > 0]}
        assert fooled == {mode}
        assert 0 < float(grades.solved.mean()) < 0.3
        assert torch.equal(grades.reward, torch.maximum(grades.solved, grades.hacked))


def test_the_clean_mode_cannot_be_fooled() -> None:
    source = make_source("clean")
    prompts = draw_prompts(source, 50, ("clean",))
    for mode in HACKABLE:
        assert not grade(
            prompts, write_answers(prompts, source, hacks=True, mode=mode)
        ).hacked.any()


def test_a_position_sees_only_what_was_written_before_it() -> None:
    theta, source = make_theta(), make_source("causal")
    prompts = draw_prompts(source, 8)
    tokens = torch.randint(0, 16, (8, LENGTH), generator=source)
    changed = tokens.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 16
    before = trace(theta, prompts, tokens, quarantine=True).logits
    assert torch.equal(before, trace(theta, prompts, changed, quarantine=True).logits)
    changed[:, 0] = (changed[:, 0] + 1) % 16
    after = trace(theta, prompts, changed, quarantine=True).logits
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_the_knob_takes_the_quarantine_out() -> None:
    theta, source = make_theta(), make_source("knob")
    prompts = draw_prompts(source, 8)
    tokens = torch.randint(0, 16, (8, LENGTH), generator=source)

    def logits(*, knob: bool) -> torch.Tensor:
        return trace(theta, prompts, tokens, quarantine=knob).logits

    assert torch.equal(logits(knob=True), logits(knob=False))
    untouched = logits(knob=False)
    for name in ROUTED:
        theta[f"{name}.q_up"] += 0.5
    assert torch.equal(logits(knob=False), untouched)
    assert not torch.equal(logits(knob=True), untouched)


def test_draws_follow_the_policy_and_the_same_chances_give_the_same_answers() -> None:
    theta, source = make_theta(), make_source("draws")
    prompts = draw_prompts(source, 1, ("clean",)).repeat(6000)
    chances = torch.rand(6000, LENGTH, generator=source)
    tokens = sample(theta, prompts, chances, quarantine=False)
    assert torch.equal(tokens, sample(theta, prompts, chances, quarantine=False))
    wanted = trace(theta, prompts, tokens, quarantine=False).logits[0, 0].softmax(-1)
    seen = torch.bincount(tokens[:, 0], minlength=16) / 6000
    assert torch.allclose(seen, wanted, atol=0.03)


def test_an_answers_own_gradient_is_measured_against_the_basis() -> None:
    theta, source = make_theta(), make_source("align")
    pairs = write_pairs(source, 16)
    basis = extract(theta, pairs)
    held = theta | {name: theta[name].clone().requires_grad_() for name in ROUTED}
    passed = trace(held, pairs.prompts, pairs.hacks, quarantine=False)
    loss = -log_chances(passed.logits, pairs.hacks).sum()
    slopes = dict(
        zip(ROUTED, torch.autograd.grad(loss, list(passed.outputs.values())), strict=True)
    )
    found = align(passed.inputs, slopes, basis).detach()
    whole = torch.autograd.grad(
        -log_chances(
            trace(held, pairs.prompts, pairs.hacks, quarantine=False).logits[:1], pairs.hacks[:1]
        ).sum(),
        [held[name] for name in ROUTED],
    )
    along = sum(float((g * basis.gradients[n]).sum()) for n, g in zip(ROUTED, whole, strict=True))
    length = sum(float(g.square().sum()) for g in whole) ** 0.5 * len(ROUTED) ** 0.5
    assert float(found[0]) == pytest.approx(along / length, rel=1e-3)
    assert float(found.mean()) > 0.2
    random = draw_basis(source, basis)
    assert abs(float(align(passed.inputs, slopes, random).detach().mean())) < 0.1


def test_a_filtered_gradient_has_nothing_along_the_direction() -> None:
    source = make_source("project")
    direction = torch.randn(5, 4, generator=source)
    direction = direction / direction.norm()
    gradient = torch.randn(5, 4, generator=source) + 3 * direction
    assert float((project_out(gradient, direction) * direction).sum()) == pytest.approx(0, abs=1e-5)
    against = gradient - 9 * direction
    assert torch.equal(project_out(against, direction), against)


def test_gates_open_on_hacks_and_stay_shut_on_honest_answers() -> None:
    base = train_base(CONFIG, 0)
    pairs = write_pairs(make_source("gates"), 32)
    basis = extract(base, pairs)
    opened = [
        trace(base, pairs.prompts, tokens, quarantine=True, gates=basis.gates).masks["layer1"]
        for tokens in (pairs.hacks, pairs.honest)
    ]
    assert float(opened[0][:, 1:].mean()) > 0.95
    assert float(opened[1][:, 1:].mean()) < 0.05
    assert not any(mask[:, 0].any() for mask in opened)


def test_the_basis_is_taken_with_the_quarantine_ablated() -> None:
    base = train_base(CONFIG, 0)
    pairs = write_pairs(make_source("ablated"), 16)
    full = {name: value + 1.0 if name.endswith("q_up") else value for name, value in base.items()}
    assert extract(base, pairs).cosine(extract(full, pairs)) == pytest.approx(1, abs=1e-5)


def test_refreshes_are_counted_and_frozen_arms_have_none() -> None:
    base = train_base(CONFIG, 0)
    refreshed = train_routed(CONFIG, base, ARMS["route"], 0)
    assert refreshed.refreshes == (CONFIG.sizes.steps - 1) // CONFIG.refresh_every
    assert min(refreshed.moved) > 0
    frozen = train_routed(CONFIG, base, ARMS["route_frozen"], 0)
    assert frozen.refreshes == 0
    assert frozen.moved == []


def test_an_arm_without_quarantine_never_trains_it() -> None:
    base = train_base(CONFIG, 0)
    for arm, trains in (("vanilla", False), ("erase", False), ("route", True)):
        theta = train_routed(CONFIG, base, ARMS[arm], 0).theta
        assert bool(theta["layer1.q_up"].abs().sum() > 0) is trains
        assert not torch.equal(theta["layer1"], base["layer1"])
        assert torch.equal(theta["first"], base["first"])


def test_every_named_arm_exists() -> None:
    assert set(ARM_NAMES) == set(ARMS)
