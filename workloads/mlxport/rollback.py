"""Rows of rolling back: a block is read and rejected; what comes after must be as if it never was.

`snapshot` returns to a state from before, on mlx-lm's own caches; `restored` does so on the
restored verifier's. `trim` is mlx-lm's `trim_prompt_cache`, `trim_forced` calls each cache's own
`trim`: both are right while nothing has rotated, and are the control once it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import trim_prompt_cache

from workloads.mlxport import decoding
from workloads.mlxport.config import Config
from workloads.mlxport.subjects import Port
from workloads.mlxport.verifier import NativeVerifier, PortedVerifier
from workloads.shared.journal import Entry
from workloads.shared.layers import SLIDING
from workloads.shared.samples import Sample
from workloads.shared.tasks import Problem, Unit

TOLERANCE = 1e-3
RollbackArm = Literal["snapshot", "restored", "trim", "trim_forced"]
ARMS: tuple[RollbackArm, ...] = ("snapshot", "restored", "trim", "trim_forced")


def measure(config: Config, port: Port, unit: Unit, problem: Problem) -> Entry:
    """Rows of all arms, after a prompt inside the window and after one that has wrapped it."""
    windows = [layer.window for layer in port.verifier.layers if layer.kind == SLIDING]
    places = {"wrapped": problem.ids}
    if windows and windows[0] is not None:
        places["within"] = problem.ids[: max(1, windows[0] // 2 - config.block)]
    rows = []
    for place, prompt in places.items():
        for arm in ARMS:
            error = measure_error(config, port, arm, mx.array([prompt]))
            for name, score in (("rollback_error", error), ("rollback_same", error <= TOLERANCE)):
                rows.append(
                    Sample(
                        arm=arm, seed=unit.seed, unit=unit.id, input=problem.digest,
                        measure=name, score=float(score), at={"place": place},
                    )
                )  # fmt: skip
    return Entry(tuple(rows), {"rollbacks": len(rows) // 2})


def measure_error(config: Config, port: Port, arm: RollbackArm, prompt: mx.array) -> float:
    """The largest difference of any logit in the tokens after a rejected block."""

    def make() -> PortedVerifier:
        if arm == "restored":
            return port.make_verifier(config, "projected")
        return NativeVerifier(port.verifier, chunk=config.chunk)

    plain = make()
    tokens = decoding.decode_greedy(plain, prompt, new_tokens=config.new_tokens)
    expected = decoding.score(make(), prompt, mx.array(tokens))
    verifier = make()
    verifier.prefill(prompt)
    undo = _prepare_undo(verifier, arm, config.block)
    vocabulary = expected.shape[-1]
    # Any block will do; none of these is what greedy decoding would say.
    wrong = (tokens[:, : config.block] + 1) % vocabulary
    verifier.forward(mx.array(np.resize(wrong, (1, config.block))))
    undo()
    worst = 0.0
    for step in range(tokens.shape[1] - 1):
        logits = verifier.forward(mx.array(tokens[:, step : step + 1]), keep=1)
        found = np.abs(np.array(logits)[:, -1] - expected[:, step + 1])
        worst = max(worst, float(found.max()))
    return worst


def _prepare_undo(verifier: PortedVerifier, arm: RollbackArm, count: int) -> Callable[[], Any]:
    if arm == "trim":
        return lambda: trim_prompt_cache(verifier.caches, count)
    if arm == "trim_forced":
        return lambda: [cache.trim(count) for cache in verifier.caches]
    state = verifier.save()
    return lambda: verifier.back(state)
