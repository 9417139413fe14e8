"""Does nothing for a while, in order to try the bus, the runner and the limits."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bridge import canonical
from workloads.shared.context import Context
from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.samples import Sample

SLICE_S = 0.25


@dataclass(frozen=True, slots=True)
class Config:
    """How long to do nothing, in seconds, the exit code to end with, and the sample's seed."""

    seconds: float = 0.0
    exit_code: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {"seconds": (0, 86_400), "exit_code": (0, 255)}
        refuse_problems(list_problems(self, bounds=bounds))


def run(config: Config, context: Context) -> None:
    """Sleep in slices with progress, write one sample, exit.

    Raises:
        SystemExit: `config.exit_code` is not zero.
    """
    started_s = time.monotonic()
    slices = max(1, round(config.seconds / SLICE_S))
    for step in range(slices):
        time.sleep(config.seconds / slices)
        context.progress(step + 1, slices, "noop")
    slept_s = time.monotonic() - started_s
    context.sample(
        Sample(
            arm="noop",
            seed=config.seed,
            unit="noop",
            input=canonical.digest({"seconds": config.seconds}),
            measure="slept_s",
            score=slept_s,
            t_ms=slept_s * 1000,
        )
    )
    if config.exit_code:
        raise SystemExit(config.exit_code)
