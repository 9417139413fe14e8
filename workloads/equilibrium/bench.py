"""What every round works on: the text, the blocks, the checkpoints, and rows of one unit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from workloads.equilibrium.block import Block, Shape
from workloads.equilibrium.config import Config, Sizes
from workloads.equilibrium.text import Batch, Text
from workloads.equilibrium.training import Controller, Recipe, Trained, train
from workloads.shared.context import Context
from workloads.shared.job import digest_config
from workloads.shared.samples import Sample

CELL = Mapping[str, str | float]


@dataclass(slots=True)
class Rows:
    """Rows of one unit: the same seed, unit and input."""

    seed: int
    unit: str
    input: str
    found: list[Sample] = field(default_factory=list)

    def add(self, arm: str, measure: str, score: float | bool, at: CELL | None = None) -> None:
        """One more row."""
        self.found.append(
            Sample(
                arm=arm, seed=self.seed, unit=self.unit, input=self.input, measure=measure,
                score=score, at=dict(at or {}),
            )
        )  # fmt: skip


class Bench:
    """The config, the text and the trained blocks of a run."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.sizes: Sizes = config.sizes
        self.text = Text.read(context.input("essays"), device=config.device)
        self.block = Block(self.make_shape())
        self._folder = context.checkpoint_dir
        self._identity = digest_config(config).removeprefix("sha256:")[:16]
        self._trained: dict[int, Trained] = {}

    def make_shape(self) -> Shape:
        """The shape of the standard block."""
        return Shape(self.sizes.width, self.sizes.heads, self.sizes.length)

    def make_recipe(self, steps: int, rate: float, controller: Controller) -> Recipe:
        """Exact training at this run's sizes."""
        sizes = self.sizes
        return Recipe(
            steps=steps, rate=rate, rows=sizes.rows, horizon=sizes.horizon,
            relax_steps=sizes.relax_steps, controller=controller,
        )  # fmt: skip

    def start_parameters(self, seed: int) -> dict[str, Tensor]:
        """The untrained parameters of a seed."""
        return self.block.make_parameters(seed, device=self.config.device)

    def trained(self, seed: int, context: Context) -> Trained:
        """The checkpoint of a seed: trained once, kept on disk for a later attempt."""
        if seed not in self._trained:
            path = self._folder / f"block-{self._identity}-{seed}.pt"
            if path.exists():
                self._trained[seed] = Trained(**torch.load(path, weights_only=True))
            else:
                self._trained[seed] = self._train(seed, context)
                _save(self._trained[seed], path)
        return self._trained[seed]

    def prepare(self, seed: int, context: Context) -> None:
        """Have the checkpoint of a seed on disk, where other processes find it."""
        self.trained(seed, context)

    def draw(self, *name: object, held: bool = False) -> Batch:
        """A batch of the run's size."""
        return self.text.draw(name, rows=self.sizes.rows, length=self.sizes.length, held=held)

    def draw_held(self, seed: int) -> list[Batch]:
        """The held-out batches that a seed is evaluated on."""
        return [self.draw("held", seed, index, held=True) for index in range(self.sizes.held)]

    def _train(self, seed: int, context: Context) -> Trained:
        controller = Controller(ceiling=self.config.ceiling)
        recipe = self.make_recipe(self.sizes.train_steps, self.config.rate, controller)

        def report(step: int) -> None:
            if step % 50 == 0:
                context.progress(0, None, f"training seed {seed}: step {step} of {recipe.steps}")

        theta = self.start_parameters(seed)
        return train(self.block, theta, self.text, recipe, name=("base", seed), on_step=report)


def _save(trained: Trained, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save({name: getattr(trained, name) for name in trained.__slots__}, temporary)
    os.replace(temporary, path)
