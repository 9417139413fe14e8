"""Rows of rolling back: a block is read and rejected; what comes after must be as if it never was.

`snapshot` returns to a state from before, on mlx-lm's own caches; `restored` does so on the
restored verifier's. `trim` is mlx-lm's `trim_prompt_cache`, `trim_forced` calls each cache's own
`trim`: both are right while nothing has rotated, and are the control once it has. Where no layer
has a window nothing ever rotates; there `none`, which undoes nothing, is the control.
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
from workloads.shared.samples import Sample
from workloads.shared.tasks import Problem, Unit

TOLERANCE = 1e-3
RollbackArm = Literal["snapshot", "restored", "trim", "trim_forced", "none"]
ARMS: tuple[RollbackArm, ...] = ("snapshot", "restored", "trim", "trim_forced")
Truth = tuple[decoding.Tokens, Any]  # tokens (1, N), and the logits (1, N, V) before each


def measure(config: Config, port: Port, unit: Unit, problem: Problem) -> Entry:
    """Rows of all arms, after a prompt inside the window and after one that has wrapped it.

    Without any window there is one place, `windowless`.
    """
    rows = []
    for place, prompt in _list_places(config, port, problem).items():
        ids = mx.array([prompt])
        truths = {restored: find_truth(config, port, restored, ids) for restored in (False, True)}
        for arm in ARMS if place != "windowless" else (*ARMS, "none"):
            error = measure_error(config, port, arm, ids, truths[arm == "restored"])
            for name, score in (("rollback_error", error), ("rollback_same", error <= TOLERANCE)):
                rows.append(
                    Sample(
                        arm=arm, seed=unit.seed, unit=unit.id, input=problem.digest,
                        measure=name, score=float(score), at={"place": place},
                    )
                )  # fmt: skip
    return Entry(tuple(rows), {"rollbacks": len(rows) // 2})


def _list_places(config: Config, port: Port, problem: Problem) -> dict[str, tuple[int, ...]]:
    window = next((layer.window for layer in port.verifier.layers if layer.window), None)
    if window is None:
        # Nothing rotates at any length: twice what the restored verifier keeps is long enough.
        return {"windowless": problem.ids[: 2 * (config.sink + config.window)]}
    within = problem.ids[: max(1, window // 2 - config.block)]
    return {"wrapped": problem.ids, "within": within}


def find_truth(config: Config, port: Port, restored: bool, prompt: mx.array) -> Truth:
    """What greedy decoding says when no block was ever read."""
    verifier = _make_verifier(config, port, restored)
    return decoding.go_on_scored(verifier, verifier.prefill(prompt), new_tokens=config.new_tokens)


def measure_error(
    config: Config, port: Port, arm: RollbackArm, prompt: mx.array, truth: Truth | None = None
) -> float:
    """The largest difference of any logit in the tokens after a rejected block."""
    restored = arm == "restored"
    tokens, expected = truth or find_truth(config, port, restored, prompt)
    verifier = _make_verifier(config, port, restored)
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


def _make_verifier(config: Config, port: Port, restored: bool) -> PortedVerifier:
    if restored:
        return port.make_verifier(config, "projected")
    return NativeVerifier(port.verifier, chunk=config.chunk)


def _prepare_undo(verifier: PortedVerifier, arm: RollbackArm, count: int) -> Callable[[], Any]:
    if arm == "none":
        return lambda: None
    if arm == "trim":
        return lambda: trim_prompt_cache(verifier.caches, count)
    if arm == "trim_forced":
        return lambda: [cache.trim(count) for cache in verifier.caches]
    state = verifier.save()
    return lambda: verifier.back(state)
