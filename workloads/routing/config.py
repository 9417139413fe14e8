"""What a run of the arms is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from workloads.shared.job import list_problems, refuse_problems

ArmName = Literal[
    "vanilla", "erase", "route", "route_full", "route_act", "route_random", "route_full_random",
    "route_frozen",
]  # fmt: skip
Scale = Literal["ci", "tiny", "small"]

ARM_NAMES: tuple[ArmName, ...] = get_args(ArmName)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of one scale.

    Attributes:
        width, rank: of the policy and its adapters.
        base_steps: supervised steps to the base.
        steps: reinforcement steps.
        prompts, group: prompts in a step, answers to each.
        pairs: labelled pairs that the basis is taken from.
    """

    width: int
    rank: int
    base_steps: int
    steps: int
    prompts: int
    group: int
    pairs: int


SIZES: dict[Scale, Sizes] = {
    "ci": Sizes(width=48, rank=4, base_steps=300, steps=30, prompts=24, group=8, pairs=32),
    "tiny": Sizes(width=64, rank=4, base_steps=400, steps=150, prompts=32, group=8, pairs=32),
    "small": Sizes(width=256, rank=8, base_steps=1500, steps=600, prompts=64, group=16, pairs=64),
}


@dataclass(frozen=True, slots=True)
class Config:
    """The arms and how they are trained and evaluated.

    Attributes:
        scale: how large the policy is and how long it trains.
        seeds: of the base, the prompts and the draws.
        arms: what is trained from each base.
        samples: prompts of each mode in an evaluation.
        refresh_every: steps between two extractions of the basis.
        rate: learning rate of Adam in reinforcement.
        hack_share: share of hacks that the base was shown, so that there is something to find.
        skill: share of right digits that the base was shown.
        matched_solve: the deployed solve rate at which hack rates are compared.
        check_every: steps between two looks for it.
    """

    scale: Scale = "tiny"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    arms: tuple[ArmName, ...] = ARM_NAMES
    samples: int = 32
    refresh_every: int = 5
    rate: float = 3e-3
    hack_share: float = 0.03
    skill: float = 0.35
    matched_solve: float = 0.45
    check_every: int = 5

    def __post_init__(self) -> None:
        problems = list_problems(self, several=("seeds", "arms"), bounds=_BOUNDS)
        if len(self.seeds) < 2:
            problems.append("$.config.seeds: at least two")
        refuse_problems(problems)

    @property
    def sizes(self) -> Sizes:
        """The numbers of the scale."""
        return SIZES[self.scale]


_BOUNDS: dict[str, tuple[float, float]] = {
    "samples": (1, 10_000),
    "refresh_every": (1, 10_000),
    "check_every": (1, 10_000),
    "rate": (1e-6, 1.0),
    "hack_share": (0, 0.5),
    "skill": (0, 1),
    "matched_solve": (0, 1),
}
