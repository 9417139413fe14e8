"""What a run of the ladder is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.models import Device, Dtype

ArmName = Literal["full", "sink_window", "absent"]


@dataclass(frozen=True, slots=True)
class Config:
    """The grid, the arms and the model's settings.

    Attributes:
        contexts: prompt lengths in tokens, chat template and question included.
        depths: where the needle lies, 0 (first) to 1 (last).
        seeds: planned seeds; each draws its own needles and places in the haystack.
        samples: units for each context, depth and seed.
        arms: what is run on each unit.
        sink: first positions that `sink_window` keeps.
        window: last positions that `sink_window` keeps, the query's own included.
        distractors: further needles about other subjects.
        chat: whether prompts stand in the model's chat template.
        max_new_tokens: tokens decoded after the answer's given start.
        batch_tokens: prompt tokens in one batch at most; a longer prompt is a batch of its own.
        chunk: positions that one prefill call of `sink_window` takes.
        device: where to compute.
        dtype: of the weights and of the K/V entries.
    """

    contexts: tuple[int, ...]
    depths: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    samples: int = 1
    arms: tuple[ArmName, ...] = ("full", "sink_window", "absent")
    sink: int = 4
    window: int = 64
    distractors: int = 0
    chat: bool = False
    max_new_tokens: int = 8
    batch_tokens: int = 4096
    chunk: int = 256
    device: Device = "auto"
    dtype: Dtype = "auto"

    def __post_init__(self) -> None:
        refuse_problems(
            list_problems(self, several=("contexts", "depths", "seeds", "arms"), bounds=_BOUNDS)
        )


_BOUNDS: dict[str, tuple[int, int]] = {
    "contexts": (1, 10_000_000),
    "depths": (0, 1),
    "seeds": (0, 2**31 - 1),
    "samples": (1, 10_000),
    "sink": (0, 4096),
    "window": (1, 1_000_000),
    "distractors": (0, 200),
    "max_new_tokens": (1, 256),
    "batch_tokens": (1, 100_000_000),
    "chunk": (1, 1_000_000),
}
