"""What a run is told: scale, seeds, arms, sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.models import Device, Dtype

ArmName = Literal["fresh", "v46", "corpus", "target", "filter", "v47", "v47_blind", "v3", "v3_data"]
Scale = Literal["ci", "tiny", "small"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train a memory.

    Attributes:
        model: the three bundles (`v4`) or one flat store (`v3`).
        diverse: facts drawn anew at every step, instead of a corpus of nine.
        entity: a prompt is the sentence retold up to its value, which is the target; instead of the
            first half of the sentence, with the second half as target.
        chosen: entries that may be attended to, None for all.
        near: whether attention is told how near an entry lies on the base, which is ours and not
            the source's.
        trained: whether it is trained at all.
    """

    model: Literal["v4", "v3"] = "v4"
    diverse: bool = False
    entity: bool = False
    chosen: int | None = None
    near: bool = True
    trained: bool = True


CHOSEN = 4
ARMS: dict[ArmName, Arm] = {
    "fresh": Arm(trained=False),
    "v46": Arm(),
    "corpus": Arm(diverse=True),
    "target": Arm(entity=True),
    "filter": Arm(chosen=CHOSEN),
    "v47": Arm(diverse=True, entity=True, chosen=CHOSEN),
    "v47_blind": Arm(diverse=True, entity=True, chosen=CHOSEN, near=False),
    "v3": Arm(model="v3"),
    "v3_data": Arm(model="v3", diverse=True, entity=True),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of one scale.

    Attributes:
        steps: of every trained arm.
        batch: sessions in a step; `prompts` of each are asked.
        told: facts in a training session, at least and at most.
        sessions: measured for each seed and N; `questions` of each.
        backbone_steps: factor on the steps in which the language model itself is trained.
    """

    steps: int
    batch: int
    prompts: int
    told: tuple[int, int]
    sessions: int
    questions: int
    backbone_steps: float


SIZES: dict[Scale, Sizes] = {
    "ci": Sizes(20, 4, 4, (8, 12), 3, 10, 0.04),
    "tiny": Sizes(500, 4, 8, (8, 20), 20, 10, 1.0),
    "small": Sizes(400, 4, 4, (8, 20), 10, 10, 1.0),
}


@dataclass(frozen=True, slots=True)
class Config:
    """The arms and the session test.

    Attributes:
        scale: how long is trained and how much is measured.
        seeds: of the memories, their training and the sessions.
        backbone_seed: of the language model that is trained where no weights are given.
        arms: what is trained, all with the same number of steps.
        facts: N, how many are told in a measured session.
        rate: learning rate of AdamW.
        device, dtype: of given weights.
    """

    scale: Scale = "tiny"
    seeds: tuple[int, ...] = (0, 1)
    backbone_seed: int = 0
    arms: tuple[ArmName, ...] = tuple(ARMS)
    facts: tuple[int, ...] = (10, 20)
    rate: float = 2e-3
    device: Device = "auto"
    dtype: Dtype = "auto"

    def __post_init__(self) -> None:
        problems = list_problems(
            self, several=("seeds", "arms", "facts"), bounds={"facts": (8, 40), "rate": (1e-6, 1)}
        )
        if len(self.seeds) < 2:
            problems.append("$.config.seeds: at least two")
        refuse_problems(problems)

    @property
    def sizes(self) -> Sizes:
        """The numbers of the scale."""
        return SIZES[self.scale]
