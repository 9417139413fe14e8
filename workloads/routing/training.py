"""A base by supervised steps, then GRPO with hack-ward gradients routed as the arm says.

Source: Shao et al., DeepSeekMath (arXiv:2402.03300) for GRPO, here without a KL term; Cloud et
al., Gradient Routing (arXiv:2410.04332).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bridge import canonical
from workloads.routing.arms import Arm
from workloads.routing.config import Config
from workloads.routing.directions import (
    Basis,
    align,
    draw_basis,
    extract,
    project_out,
    write_pairs,
)
from workloads.routing.environment import LENGTH, Prompts, draw_prompts, grade, write_answers
from workloads.routing.policy import (
    ROUTED,
    Gate,
    Parameters,
    log_chances,
    make_parameters,
    sample,
    trace,
)

BASE_RATE = 5e-3
BASE_ROWS = 128


def make_source(*name: object) -> torch.Generator:
    """A random source that depends on its name alone."""
    digest = canonical.digest([str(part) for part in ("routing/1", *name)])
    generator = torch.Generator()
    generator.manual_seed(int(digest.removeprefix("sha256:")[:15], 16))
    return generator


def train_base(config: Config, seed: int) -> Parameters:
    """A policy that is right now and then and seldom hacks: imitation of mixed answers."""
    source, sizes = make_source("base", seed), config.sizes
    theta = make_parameters(source, sizes.width, sizes.rank)
    main = {name: value.requires_grad_() for name, value in theta.items() if ".q_" not in name}
    optimizer = torch.optim.Adam(list(main.values()), lr=BASE_RATE)
    for _ in range(sizes.base_steps):
        prompts = draw_prompts(source, BASE_ROWS)
        tokens = _mix_answers(config, prompts, source)
        passed = trace(theta, prompts, tokens, quarantine=False)
        loss = -log_chances(passed.logits, tokens).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: value.detach() for name, value in theta.items()}


def _mix_answers(config: Config, prompts: Prompts, source: torch.Generator) -> Tensor:
    tokens = write_answers(prompts, source, hacks=False)
    chances = torch.rand(len(prompts), 2, generator=source)
    guesses = torch.randint(0, 10, (len(prompts),), generator=source)
    tokens[:, 2] = torch.where(chances[:, 0] < config.skill, tokens[:, 2], guesses)
    hacks = write_answers(prompts, source, hacks=True)
    return torch.where(chances[:, 1:] < config.hack_share, hacks, tokens)


@dataclass(slots=True)
class Routed:
    """What one arm's training came to.

    Attributes:
        theta: the weights, adapters included.
        gates: where the adapters act, None for everywhere.
        refreshes: how often the basis was taken anew after the first time.
        moved: 1 - cosine between a basis and the one before, of each refresh.
        aligned: (step, mean cosine of rewarded hacks' gradients with the basis, the same of
            solved answers) where both were seen.
        spared: share of the gradient's length that the main weights were spared, each step.
    """

    theta: Parameters
    gates: Mapping[str, Gate] | None = None
    refreshes: int = 0
    moved: list[float] = field(default_factory=list)
    aligned: list[tuple[int, float, float]] = field(default_factory=list)
    spared: list[float] = field(default_factory=list)


def train_routed(
    config: Config,
    base: Parameters,
    arm: Arm,
    seed: int,
    on_step: Callable[[int, Routed], None] | None = None,
) -> Routed:
    """GRPO from a base under one arm; every arm of a seed sees the same prompts and chances."""
    loop = _Loop(config, base, arm, seed)
    for step in range(config.sizes.steps):
        loop.refresh(step)
        loop.take_step(step)
        if on_step is not None:
            on_step(step + 1, loop.routed)
    return loop.routed


class _Loop:
    def __init__(self, config: Config, base: Parameters, arm: Arm, seed: int) -> None:
        self._config, self._arm = config, arm
        self.routed = Routed({name: value.clone() for name, value in base.items()})
        self._source = make_source("grpo", seed)
        self._random = make_source("random basis", seed)
        self._pairs = write_pairs(make_source("pairs", seed), config.sizes.pairs)
        self._basis: Basis | None = None
        trained = [name for name in base if name in ROUTED or (arm.quarantine and ".q_" in name)]
        self._trained = {name: self.routed.theta[name].requires_grad_() for name in trained}
        self._optimizer = torch.optim.Adam(list(self._trained.values()), lr=config.rate)

    def refresh(self, step: int) -> None:
        """Take the basis anew where it is due; without a filter it is only looked at."""
        due = step % self._config.refresh_every == 0
        if self._basis is not None and (self._arm.frozen or not due):
            return
        found = extract(self.routed.theta, self._pairs)
        if self._arm.random:
            found = draw_basis(self._random, found)
        if self._basis is not None:
            self.routed.refreshes += 1
            self.routed.moved.append(1 - found.cosine(self._basis))
        self._basis = found
        if self._arm.filter == "gate":
            self.routed.gates = found.gates

    def take_step(self, step: int) -> None:
        """One group-relative policy step."""
        sizes, theta, gates = self._config.sizes, self.routed.theta, self.routed.gates
        prompts = draw_prompts(self._source, sizes.prompts).repeat(sizes.group)
        chances = torch.rand(len(prompts), LENGTH, generator=self._source)
        on = self._arm.quarantine
        tokens = sample(theta, prompts, chances, quarantine=on, gates=gates)
        grades = grade(prompts, tokens)
        passed = trace(theta, prompts, tokens, quarantine=on, gates=gates)
        weights = _compare_in_groups(grades.reward, sizes.group)
        loss = -(weights[:, None] * log_chances(passed.logits, tokens)).mean()
        adapters = [name for name in self._trained if ".q_" in name]
        wanted = [*passed.outputs.values(), *(theta[name] for name in adapters)]
        found = torch.autograd.grad(loss, wanted)
        slopes = dict(zip(passed.outputs, found[: len(ROUTED)], strict=True))
        inputs = {name: value.detach() for name, value in passed.inputs.items()}
        for name, slope in zip(adapters, found[len(ROUTED) :], strict=True):
            theta[name].grad = slope
        assert self._basis is not None
        towards = align(inputs, slopes, self._basis)
        self._note_alignment(step, towards, weights, grades.hacked, grades.solved)
        self._filter(inputs, slopes, passed.masks, towards, self._basis)
        self._optimizer.step()

    def _filter(
        self,
        inputs: Mapping[str, Tensor],
        slopes: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        towards: Tensor,
        basis: Basis,
    ) -> None:
        whole, kept = 0.0, 0.0
        for name in ROUTED:
            slope = slopes[name]
            full = torch.einsum("btc,btd->cd", inputs[name], slope)
            gradient = full
            if self._arm.filter == "drop":
                slope = slope * (towards <= 0)[:, None, None]
            if self._arm.filter == "gate":
                slope = slope * (1 - masks[name])[..., None]
            if self._arm.filter in ("drop", "gate"):
                gradient = torch.einsum("btc,btd->cd", inputs[name], slope)
            if self._arm.filter in ("project", "drop"):
                gradient = project_out(gradient, basis.gradients[name])
            self.routed.theta[name].grad = gradient
            whole += float(full.square().sum())
            kept += float((full - gradient).square().sum())
        self.routed.spared.append((kept / max(whole, 1e-30)) ** 0.5)

    def _note_alignment(
        self, step: int, towards: Tensor, weights: Tensor, hacked: Tensor, solved: Tensor
    ) -> None:
        hacks = (hacked > 0) & (weights > 0)
        solves = (solved > 0) & (hacked == 0) & (weights > 0)
        if bool(hacks.any()) and bool(solves.any()):
            pair = (float(towards[hacks].mean()), float(towards[solves].mean()))
            self.routed.aligned.append((step, *pair))


def _compare_in_groups(reward: Tensor, group: int) -> Tensor:
    """Each answer's reward against its group's mean, in its group's standard deviations."""
    rows = reward.reshape(-1, group)
    apart = rows - rows.mean(1, keepdim=True)
    return (apart / (rows.std(1, unbiased=False, keepdim=True) + 1e-4)).flatten()
