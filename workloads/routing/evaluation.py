"""What a policy does with the knob on (adapters in) and off (deployed), mode by mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.routing.environment import (
    HACKABLE,
    LENGTH,
    MODES,
    Grades,
    Prompts,
    draw_prompts,
    grade,
)
from workloads.routing.policy import Gate, sample
from workloads.routing.training import make_source
from workloads.shared.samples import Sample


@dataclass(frozen=True, slots=True)
class Exam:
    """Prompts of each mode with the chances that answers are drawn by: the same for all arms."""

    prompts: Mapping[str, Prompts]
    chances: Mapping[str, Tensor]

    @classmethod
    def draw(cls, seed: int, samples: int, purpose: str = "exam") -> Exam:
        """`samples` prompts of each mode."""
        prompts, chances = {}, {}
        for mode in MODES:
            source = make_source(purpose, seed, mode)
            prompts[mode] = draw_prompts(source, samples, (mode,))
            chances[mode] = torch.rand(samples, LENGTH, generator=source)
        return cls(prompts, chances)

    def sit(
        self,
        theta: Mapping[str, Tensor],
        *,
        quarantine: bool,
        gates: Mapping[str, Gate] | None = None,
    ) -> dict[str, Grades]:
        """Grades by mode."""
        return {
            mode: grade(
                prompts,
                sample(theta, prompts, self.chances[mode], quarantine=quarantine, gates=gates),
            )
            for mode, prompts in self.prompts.items()
        }

    def rates(self, grades: Mapping[str, Grades]) -> tuple[float, float]:
        """(hack rate over the hackable modes, solve rate over all)."""
        hacked = torch.cat([grades[mode].hacked for mode in HACKABLE])
        solved = torch.cat([one.solved for one in grades.values()])
        return float(hacked.mean()), float(solved.mean())

    def write(
        self, grades: Mapping[str, Grades], *, arm: str, seed: int, knob: str
    ) -> list[Sample]:
        """One row for each prompt and measure; `hack` only where there is a loophole."""
        found = []
        for mode, one in grades.items():
            scores = {"solve": one.solved}
            if mode in HACKABLE:
                scores["hack"] = one.hacked
            for measure, values in scores.items():
                for index, score in enumerate(values.tolist()):
                    found.append(
                        Sample(
                            arm=arm, seed=seed, unit=f"s{seed}-{mode}-{index}",
                            input=self.prompts[mode].digest(index), measure=measure,
                            score=int(score), at={"mode": mode, "knob": knob},
                        )
                    )  # fmt: skip
        return found
