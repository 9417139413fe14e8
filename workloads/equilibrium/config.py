"""What a run of the rounds is told, and how large each scale is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from workloads.shared.job import list_problems, refuse_problems

Scale = Literal["ci", "tiny", "small", "h200"]
Round = Literal["train", "estimators", "averaging", "rescue", "following", "hijack", "structure"]

ROUNDS: tuple[Round, ...] = get_args(Round)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of one scale.

    Attributes:
        width, heads, length, rows: of the block and its batches.
        train_steps: exact-gradient steps to the checkpoint that the rounds start from.
        horizon: unrolled steps in training; `horizons` those that are compared, rising: the
            last one is the reference.
        relax_steps: Euler steps of the free phase at most.
        snapshots: T2 of the nudged phases, rising.
        pairs: pairs of batches that the estimators are compared on, at the trained block.
        init_pairs: the same at the untrained block.
        pool: batches of the averaging round.
        held: held-out batches of an evaluation.
        rescue_steps, following_steps, structure_steps: of these rounds' training runs.
        rescue_seeds: how many of the seeds run the rescue grid and the structural arms.
    """

    width: int
    heads: int
    length: int
    rows: int
    train_steps: int
    horizon: int
    horizons: tuple[int, ...]
    relax_steps: int
    snapshots: tuple[int, ...]
    pairs: int
    init_pairs: int
    pool: int
    held: int
    rescue_steps: int
    following_steps: int
    structure_steps: int
    rescue_seeds: int = 2


SIZES: dict[Scale, Sizes] = {
    "ci": Sizes(
        width=32,
        heads=2,
        length=16,
        rows=4,
        train_steps=60,
        horizon=15,
        horizons=(30, 60, 120),
        relax_steps=150,
        snapshots=(20, 60),
        pairs=1,
        init_pairs=1,
        pool=16,
        held=4,
        rescue_steps=12,
        following_steps=5,
        structure_steps=20,
    ),
    "tiny": Sizes(
        width=48,
        heads=4,
        length=24,
        rows=8,
        train_steps=450,
        horizon=20,
        horizons=(30, 60, 120),
        relax_steps=200,
        snapshots=(20, 60, 120),
        pairs=2,
        init_pairs=1,
        pool=16,
        held=8,
        rescue_steps=80,
        following_steps=30,
        structure_steps=80,
    ),
    "small": Sizes(
        width=128,
        heads=4,
        length=64,
        rows=16,
        train_steps=2000,
        horizon=30,
        horizons=(60, 120, 240),
        relax_steps=300,
        snapshots=(20, 60, 120),
        pairs=8,
        init_pairs=2,
        pool=32,
        held=16,
        rescue_steps=600,
        following_steps=300,
        structure_steps=800,
    ),
    "h200": Sizes(
        width=512,
        heads=8,
        length=256,
        rows=24,
        train_steps=12000,
        horizon=60,
        horizons=(60, 150, 400, 800),
        relax_steps=600,
        snapshots=(20, 60, 120),
        pairs=12,
        init_pairs=2,
        pool=64,
        held=32,
        rescue_steps=2500,
        following_steps=1500,
        structure_steps=4000,
    ),
}


@dataclass(frozen=True, slots=True)
class Config:
    """The grid of the rounds.

    Attributes:
        scale: how large the block is and how long everything lasts.
        seeds: of the parameters and the batches.
        rounds: what is run; all but `train` start from the checkpoint of `train`.
        rate: peak learning rate of the exact training that makes the checkpoint.
        ceiling: greatest weight of the Jacobian penalty in that training (`jr_max`).
        radii: nudge radii.
        late_radius: of the averaging, localisation and following rounds.
        navg: over how many batches a gradient is averaged.
        rates: learning rates of the rescue grid.
        ceilings: penalty ceilings of the rescue grid; 0 is a run without the controller.
        device: where to compute; "mps" has neither complex states nor double precision.
    """

    scale: Scale = "tiny"
    seeds: tuple[int, ...] = (0, 1, 2)
    rounds: tuple[Round, ...] = ROUNDS
    rate: float = 1e-2
    ceiling: float = 1.0
    radii: tuple[float, ...] = (0.02, 0.1, 0.2)
    late_radius: float = 0.1
    navg: tuple[int, ...] = (1, 2, 4, 8, 16)
    rates: tuple[float, ...] = (0.005, 0.01, 0.02)
    ceilings: tuple[float, ...] = (0.0, 0.5, 2.0)
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        problems = list_problems(
            self, several=("seeds", "rounds", "radii", "navg", "rates", "ceilings")
        )
        if any(value <= 0 for value in (*self.radii, *self.rates, self.rate, self.late_radius)):
            problems.append("$.config: radii and rates are above 0")
        if any(value < 0 for value in (*self.ceilings, self.ceiling)):
            problems.append("$.config.ceilings: none is below 0")
        if not all(1 <= count <= self.sizes.pool for count in self.navg):
            problems.append(f"$.config.navg: 1 to {self.sizes.pool} at scale {self.scale}")
        refuse_problems(problems)

    @property
    def sizes(self) -> Sizes:
        """The numbers of the scale."""
        return SIZES[self.scale]
