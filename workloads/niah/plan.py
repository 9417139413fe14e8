"""Which units there are, and in which batches they are run."""

from __future__ import annotations

import random
from dataclasses import dataclass

from workloads.niah.config import Config


@dataclass(frozen=True, slots=True)
class Unit:
    """One question: a cell of the grid, a seed, and the how-manieth of its kind.

    Every arm that runs a unit gets the same needle and the same place in the haystack.
    """

    context: int
    depth: float
    seed: int
    index: int

    @property
    def id(self) -> str:
        """The name that pairs rows across arms."""
        return f"c{self.context}-d{self.depth:g}-s{self.seed}-n{self.index}"

    def make_random_source(self) -> random.Random:
        """A source that depends on the unit alone, so that order and arms change nothing."""
        return random.Random(f"niah/1 {self.id}")  # noqa: S311  (a seed, not a secret)


@dataclass(frozen=True, slots=True)
class Batch:
    """Units of one context under one arm: one tensor, and the step that a checkpoint counts."""

    arm: str
    context: int
    units: tuple[Unit, ...]

    @property
    def key(self) -> str:
        """The name under which a finished batch is remembered."""
        return f"{self.arm} {self.units[0].id} {self.units[-1].id}"


def plan_batches(config: Config) -> list[Batch]:
    """All batches, rung by rung, the arms of one group of units after one another.

    What is in a batch depends on the config alone: a resumed run computes the same numbers.
    """
    batches = []
    for context in config.contexts:
        units = _list_units(config, context)
        size = max(1, config.batch_tokens // context)
        for start in range(0, len(units), size):
            group = tuple(units[start : start + size])
            batches += [Batch(arm, context, group) for arm in config.arms]
    return batches


def _list_units(config: Config, context: int) -> list[Unit]:
    return [
        Unit(context, depth, seed, index)
        for seed in config.seeds
        for depth in config.depths
        for index in range(config.samples)
    ]
