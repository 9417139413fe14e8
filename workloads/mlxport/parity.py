"""Rows of the restored verifier: MLX beside torch, prompt by prompt and arm by arm.

In float32 tokens must be equal. In bfloat16 both sides round, so a near-tie may fall either way
and everything after it may differ: both are therefore led along torch's tokens, and each step
where their choices differ must be a near-tie in torch's own float32. A gap counts as one if it is
at most twice the largest error that bfloat16 makes in torch alone on that prompt: one error for
each of the two tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from workloads.mlxport import decoding
from workloads.mlxport.config import ArmName, Config, Precision
from workloads.mlxport.subjects import Port, Reference
from workloads.shared.journal import Entry
from workloads.shared.restored.verifier import Verifier
from workloads.shared.samples import Sample
from workloads.shared.tasks import Problem, Task, Unit

NOTES = "divergences.jsonl"


@dataclass(frozen=True, slots=True)
class Sides:
    """What a comparison in one precision needs.

    Attributes:
        reference: torch in this precision, None where MLX runs alone.
        exact: torch in float32, for near-ties; None where this precision is float32.
    """

    dtype: Precision
    port: Port
    reference: Reference | None = None
    exact: Reference | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What MLX made of one batch under one arm; `logits` (B, N, V) are those before each token."""

    tokens: Any
    logits: Any
    held: Mapping[str, int]
    restored: int
    t_ms: float


def measure(config: Config, task: Task, sides: Sides, units: Sequence[Unit]) -> Entry:
    """Rows of all arms on one batch of problems."""
    problems = [task.make_problem(unit) for unit in units]
    ids = np.array([problem.ids for problem in problems])
    rows: list[Sample] = []
    notes: list[dict[str, Any]] = []
    counters: dict[str, float] = {}
    whole: Ran | None = None
    for arm in config.arms:
        ported = _run_port(config, sides.port, arm, ids)
        whole = whole or ported
        scores = _score_port(task, problems, ported, whole)
        if sides.reference is not None:
            more, found = _compare(config, task, problems, sides, arm, ids, ported)
            scores = {**scores, **more}
            if arm != "planted":  # it differs at every step, and is meant to
                notes += [{"unit": units[note.pop("row")].id, "arm": arm} | note for note in found]
        for measure_name, values in scores.items():
            rows += [
                Sample(
                    arm=arm, seed=unit.seed, unit=unit.id, input=problem.digest,
                    measure=measure_name, score=float(value),
                    at={"context": unit.context, "dtype": sides.dtype}, t_ms=ported.t_ms,
                )
                for unit, problem, value in zip(units, problems, values, strict=True)
            ]  # fmt: skip
        counters[f"{arm}.prompts"] = len(units)
        counters[f"{arm}.restored_positions"] = ported.restored * len(units)
    return Entry(tuple(rows), counters, {NOTES: tuple(notes)} if notes else {})


def _run_port(config: Config, port: Port, arm: ArmName, ids: Any) -> Ran:
    verifier = port.make_verifier(config, arm)
    started_s = time.perf_counter()
    logits = verifier.prefill(mx.array(ids))
    held = verifier.measure_bytes()
    tokens, scores = decoding.go_on_scored(verifier, logits, new_tokens=config.new_tokens)
    t_ms = (time.perf_counter() - started_s) * 1000 / len(ids)
    return Ran(tokens, scores, held, verifier.restored, t_ms)


def _score_port(
    task: Task, problems: Sequence[Problem], ported: Ran, whole: Ran
) -> dict[str, list[float]]:
    count = len(problems)
    return {
        "recall_mlx": _list_recall(task, problems, ported.tokens),
        "same_as_full": [
            float(np.array_equal(left, right))
            for left, right in zip(ported.tokens, whole.tokens, strict=True)
        ],
        "kv_bytes_mlx": [sum(ported.held.values()) // count] * count,
        "restored_positions": [ported.restored] * count,
    }


def _compare(
    config: Config,
    task: Task,
    problems: Sequence[Problem],
    sides: Sides,
    arm: ArmName,
    ids: Any,
    ported: Ran,
) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """Scores by measure, and a note for each step at which the sides choose differently."""
    assert sides.reference is not None
    prompt = torch.tensor(ids)
    decoded = sides.reference.make_verifier(config, arm).decode(
        prompt, new_tokens=config.new_tokens
    )
    tokens = decoded.tokens.numpy()
    theirs = lead(sides.reference.make_verifier(config, arm), config, prompt, decoded.tokens)
    same = (ported.tokens == tokens).all(axis=1)
    ours = ported.logits
    if not same.all():  # else MLX went along torch's tokens by itself
        led = sides.port.make_verifier(config, arm)
        ours = decoding.score(led, mx.array(ids), mx.array(tokens))
    scores = {
        "recall_torch": _list_recall(task, problems, tokens),
        "same_tokens": [float(value) for value in same],
        "logit_error": [float(value) for value in np.abs(ours - theirs).max(axis=(1, 2))],
        "kv_bytes_torch": [sum(decoded.held.values()) // len(ids)] * len(ids),
    }
    if sides.exact is None:
        return scores, []
    exact = lead(sides.exact.make_verifier(config, arm), config, prompt, decoded.tokens)
    found = find_divergences(theirs, ours, exact)
    rows = range(len(ids))
    first = [min([note["step"] for note in found if note["row"] == row], default=None)
             for row in rows]  # fmt: skip
    return scores | {
        "rounding": [float(value) for value in np.abs(theirs - exact).max(axis=(1, 2))],
        "divergences": [float(sum(note["row"] == row for note in found)) for row in rows],
        "unexplained": [
            float(sum(note["row"] == row and not note["near_tie"] for note in found))
            for row in rows
        ],
        "prefix_same": [
            float(np.array_equal(ported.tokens[row, : first[row]], tokens[row, : first[row]]))
            for row in rows
        ],
    }, found


@torch.inference_mode()  # type: ignore[untyped-decorator]
def lead(verifier: Verifier, config: Config, ids: torch.Tensor, tokens: torch.Tensor) -> Any:
    """Torch's logits (B, N, V) before each of `tokens` (B, N), fed one at a time after `ids`."""
    parts = [ids[:, at : at + config.chunk] for at in range(0, ids.shape[1], config.chunk)]
    logits = [verifier.read(part, last=True) for part in parts][-1:]
    for step in range(tokens.shape[1] - 1):
        logits.append(verifier.read(tokens[:, step : step + 1], last=True))
    return torch.cat(logits, dim=1).numpy()


def find_divergences(theirs: Any, ours: Any, exact: Any) -> list[dict[str, Any]]:
    """The steps at which two sides choose differently, from logits (B, N, V) along one path."""
    bound = 2 * np.abs(theirs - exact).max(axis=(1, 2))
    left, right = theirs.argmax(-1), ours.argmax(-1)
    found = []
    for row, step in zip(*np.nonzero(left != right), strict=True):
        one, other = int(left[row, step]), int(right[row, step])
        gap = abs(float(exact[row, step, one]) - float(exact[row, step, other]))
        found.append(
            {
                "row": int(row), "step": int(step), "torch": one, "mlx": other, "gap": gap,
                "bound": float(bound[row]), "near_tie": bool(gap <= bound[row]),
            }
        )  # fmt: skip
    return found


def _list_recall(task: Task, problems: Sequence[Problem], tokens: Any) -> list[float]:
    return [
        float(task.is_right(problem, row[: task.new_tokens]))
        for problem, row in zip(problems, tokens.tolist(), strict=True)
    ]
