"""K/V storage: what a cache loses when its entries are stored in fewer bits, and what it costs.

Every arm answers the same questions; each query, from the first of the prompt on, reads entries
that went through the store. Bits per value are counted from the stored tensors, scales included.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from bridge.errors import UsageError
from workloads.kvquant.codecs import CODECS, CodecName
from workloads.kvquant.config import Config
from workloads.kvquant.storage import StoredAttention
from workloads.shared.context import Context
from workloads.shared.decoding import decode_greedy
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace
from workloads.shared.samples import Sample
from workloads.shared.tasks import Unit
from workloads.shared.verifiers import Verifier, load_verifier

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> None:
    """Run the grid; inputs `weights` and `essays`, or none for a model that is trained here."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    pace = Pace(context)
    verifier = load_verifier(
        context,
        pace,
        scale=config.scale,
        seed=config.verifier_seed,
        device=config.device,
        dtype=config.dtype,
        new_tokens=config.new_tokens,
    )
    _state_facts(context, verifier)
    batches = [
        (arm, group)
        for length in config.contexts
        for seed in config.seeds
        for group in _group(config, length, seed)
        for arm in config.arms
    ]
    pace.expect(len(batches))
    for arm, units in batches:
        key = f"{arm} {units[0].id} {units[-1].id}"
        if not context.resume(key):
            context.commit(key, _measure(verifier, arm, units))
        pace.advance(f"{arm} at {units[0].context} tokens")


def _group(config: Config, length: int, seed: int) -> list[list[Unit]]:
    units = [Unit(length, seed, index) for index in range(config.samples)]
    return [
        units[start : start + config.eval_rows] for start in range(0, len(units), config.eval_rows)
    ]


def _state_facts(context: Context, verifier: Verifier) -> None:
    layers = StoredAttention(verifier.model, CODECS["identity"]).stored
    if not layers:
        raise UsageError(
            "the model has no layer of full attention to store", where="$.inputs.weights"
        )
    context.state(
        model=type(verifier.model).__name__,
        parameters=sum(tensor.numel() for tensor in verifier.model.parameters()),
        stored_layers=len(layers),
        device=str(verifier.device),
        dtype=str(verifier.model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def _measure(verifier: Verifier, arm: CodecName, units: Sequence[Unit]) -> Entry:
    problems = [verifier.task.make_problem(unit) for unit in units]
    ids = torch.tensor([problem.ids for problem in problems], device=verifier.device)
    attention = StoredAttention(verifier.model, CODECS[arm])
    decoded = decode_greedy(verifier.model, ids, attention, max_new_tokens=verifier.task.new_tokens)
    stored = attention.stored
    held = sum(layer.measure_bytes() for layer in stored)
    count = sum(layer.values_seen for layer in stored)
    shared = {
        "bits_per_value": held * 8 / count,
        "rel_mse": sum(layer.error for layer in stored) / sum(layer.energy for layer in stored),
        "kv_bytes": held // len(units),
    }
    rows = []
    for unit, problem, tokens in zip(units, problems, decoded.tokens.tolist(), strict=True):
        scores = {"recall": int(verifier.task.is_right(problem, tokens))} | shared
        rows += [
            Sample(
                arm=arm, seed=unit.seed, unit=unit.id, input=problem.digest, measure=measure,
                score=score, at={"context": unit.context},
                t_ms=(decoded.prefill_s + decoded.decode_s) * 1000 / len(units),
            )
            for measure, score in scores.items()
        ]  # fmt: skip
    counters = {f"{arm}.prompts": len(units), f"{arm}.stored_values": count}
    return Entry(tuple(rows), counters)
