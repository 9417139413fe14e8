"""What this machine is: measured, from inside a job, with the job's own limits and threads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from bridge import canonical
from workloads.probe import machine
from workloads.probe.speed import measure_matmul
from workloads.shared.context import Context
from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.samples import Sample


@dataclass(frozen=True, slots=True)
class Config:
    """The side of the square matrices multiplied (0: none are), and how often.

    The first repeat of each backend warms up and is marked so.
    """

    matmul_side: int = 512
    repeats: int = 5

    def __post_init__(self) -> None:
        bounds = {"matmul_side": (0, 8192), "repeats": (1, 100)}
        refuse_problems(list_problems(self, bounds=bounds))


def run(config: Config, context: Context) -> None:
    """Write what is found to `artifacts/probe.json` and what can be counted as samples."""
    facts = machine.describe(context.job.out)
    context.progress(1, 2, "machine")
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    context.artifact("probe.json").write_text(text, "utf-8")
    context.state(machine=facts)
    identity = canonical.digest_bytes(text.encode())
    counted = {name: value for name, value in facts["counts"].items() if value is not None}
    for name, value in counted.items():
        context.sample(_make_sample(context, identity, name, value))
    if config.matmul_side:
        _measure_speed(config, context, identity)
    context.progress(2, 2, "speed")


def _measure_speed(config: Config, context: Context, identity: str) -> None:
    for backend, runs in measure_matmul(config.matmul_side, config.repeats).items():
        for repeat, (gflops, seconds) in enumerate(runs):
            context.sample(
                _make_sample(
                    context,
                    identity,
                    "matmul_gflops",
                    gflops,
                    unit=f"{backend}-{repeat}",
                    at={"backend": backend, "side": config.matmul_side},
                    t_ms=seconds * 1000,
                    warmup=repeat == 0 and config.repeats > 1,
                )
            )


def _make_sample(
    context: Context,
    identity: str,
    measure: str,
    score: float,
    *,
    unit: str = "machine",
    at: Mapping[str, str | float] | None = None,
    t_ms: float = 0.0,
    warmup: bool = False,
) -> Sample:
    return Sample(
        arm="probe",
        seed=context.seed,
        unit=unit,
        input=identity,
        measure=measure,
        score=score,
        at=at or {},
        t_ms=t_ms,
        warmup=warmup,
    )
