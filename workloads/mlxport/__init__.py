"""The MLX port: restored verifier and drafter on mlx-lm's models, held against torch.

Every row is MLX run for real: on Metal where there is a Mac, else on MLX's CPU backend, by the
same code. Speed is reported; nothing is claimed of it.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import mlx.core as mx
import mlx_lm
import torch

from workloads.mlxport import drafting, models, parity, rollback
from workloads.mlxport.config import Config, Precision
from workloads.mlxport.parity import Sides
from workloads.mlxport.subjects import Port, Reference, Subject, load_subject
from workloads.shared.context import Context
from workloads.shared.drafter import BlockDrafter
from workloads.shared.pace import Pace
from workloads.shared.tasks import Unit

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> None:
    """Make or read the parts, then compare.

    Inputs: none for parts that are made here; else `weights` and `essays`, and any of `drafter`,
    `projection` and `block_drafter`.
    """
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    device = models.choose_device(config.mlx_device)
    pace = Pace(context)
    pace.advance("making the verifier", 0)
    subject = load_subject(config, context, pace)
    batches = _list_batches(config)
    single = [unit for units in batches for unit in units if unit.context == min(config.contexts)]
    pace.expect(len(config.dtypes) * len(batches) + 2 * len(single))
    exact: Reference | None = None
    first: Port | None = None
    for dtype in config.dtypes:
        port = subject.load_port(dtype)
        reference = subject.load_reference(dtype) if config.reference == "torch" else None
        if first is None:
            first = port
            _state_facts(context, port, device)
        for units in batches:
            key = f"{dtype} {units[0].id} {units[-1].id}"
            if not context.resume(key):
                sides = Sides(dtype, port, reference, exact)
                context.commit(key, parity.measure(config, subject.task, sides, units))
            pace.advance(f"{dtype} at {units[0].context} tokens")
        if dtype == "float32":
            exact = reference
    assert first is not None, "the config names a precision"
    _measure_single(config, context, pace, subject, first, exact, single)


def _list_batches(config: Config) -> list[list[Unit]]:
    found = []
    for length in config.contexts:
        for seed in config.seeds:
            units = [Unit(length, seed, index) for index in range(config.samples)]
            found += [
                units[start : start + config.eval_rows]
                for start in range(0, len(units), config.eval_rows)
            ]
    return found


def _measure_single(
    config: Config,
    context: Context,
    pace: Pace,
    subject: Subject,
    port: Port,
    exact: Reference | None,
    units: list[Unit],
) -> None:
    """Rolling back and drafting, on one text at a time, in the first precision."""
    drafter = subject.load_block_drafter(port)
    reference: tuple[Any, BlockDrafter] | None = None
    if exact is not None:
        theirs = BlockDrafter.load(subject.folders.block_drafter).eval().requires_grad_(False)
        reference = exact.model, theirs
    for unit in units:
        problem = subject.task.make_problem(unit)
        if not context.resume(f"rollback {unit.id}"):
            context.commit(f"rollback {unit.id}", rollback.measure(config, port, unit, problem))
        pace.advance(f"rolling back {unit.id}")
        if not context.resume(f"drafting {unit.id}"):
            entry = drafting.measure(config, port, drafter, reference, unit, problem)
            context.commit(f"drafting {unit.id}", entry)
        pace.advance(f"drafting {unit.id}")


def _state_facts(context: Context, port: Port, device: str) -> None:
    kinds: dict[Precision | str, int] = {}
    for layer in port.verifier.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    context.state(
        verifier=type(port.verifier.model).__module__,
        layers=kinds,
        window=max((layer.window or 0 for layer in port.verifier.layers), default=0),
        mlx_device=device,
        metal=bool(mx.metal.is_available()),
        platform=platform.platform(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        torch=torch.__version__,
        mlx=mx.__version__,
        mlx_lm=mlx_lm.__version__,
    )
