"""Rows: recall and allocated bytes of an arm, errors and curve of a projection, the mix sweep."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from workloads.restoration.config import Config
from workloads.restoration.losses import LossName
from workloads.restoration.subjects import Fitted, Subject
from workloads.shared.fitting import FitStep
from workloads.shared.journal import Entry
from workloads.shared.layers import FULL, SLIDING, AttentionLayer
from workloads.shared.restored.arms import ARMS, ArmName, Bounds
from workloads.shared.restored.sources import MixedSource, OwnSource, ProjectedSource, Source
from workloads.shared.restored.verifier import Verifier
from workloads.shared.samples import Sample
from workloads.shared.tasks import Problem, Unit
from workloads.shared.verifiers import NO_INPUT

CURVE_EVERY = 10
PLACELESS = frozenset({"longest_kv_bytes"})


def list_units(config: Config, context: int, seed: int) -> list[Unit]:
    """The problems of one context and seed."""
    return [Unit(context, seed, index) for index in range(config.samples)]


def list_arms(config: Config, subject: Subject) -> list[ArmName]:
    """The arms that make sense for the model: those of S5 need both kinds of layers."""
    kinds = {layer.kind for layer in subject.teacher.layers}
    mixed = kinds == {FULL, SLIDING}
    return [arm for arm in config.arms if mixed or not ARMS[arm].hybrid]


def count_steps(config: Config, subject: Subject) -> int:
    """How many batches of problems all arms and mixes come to."""
    batches = -(-config.samples // config.eval_rows)
    cells = len(config.contexts) * len(list_arms(config, subject)) + len(config.alphas)
    return len(config.seeds) * batches * cells


def list_curve(history: Sequence[FitStep], *, loss: LossName, seed: int) -> list[Sample]:
    """The loss at every tenth step, averaged over those ten."""
    rows = []
    for start in range(0, len(history), CURVE_EVERY):
        part = history[start : start + CURVE_EVERY]
        rows.append(
            Sample(
                arm=loss, seed=seed, unit=f"step{part[-1].step}", input=NO_INPUT,
                measure="fit_loss", score=sum(one.loss for one in part) / len(part),
                at={"step": part[-1].step}, t_ms=sum(one.t_ms for one in part),
            )
        )  # fmt: skip
    return rows


def list_errors(
    errors: dict[int, dict[str, float]],
    layers: Sequence[AttentionLayer],
    *,
    loss: LossName,
    seed: int,
    t_ms: float,
) -> list[Sample]:
    """Relative squared errors of K and V, before (`raw`) and after (`norm`) their norms."""
    kinds = {layer.index: layer.kind for layer in layers}
    return [
        Sample(
            arm=loss, seed=seed, unit=f"layer{layer}", input=NO_INPUT,
            measure=f"rel_mse_{name}", score=score,
            at={"layer": layer, "kind": "full" if kinds[layer] == FULL else "sliding"}, t_ms=t_ms,
        )
        for layer, parts in errors.items()
        for name, score in parts.items()
    ]  # fmt: skip


def measure_arm(
    config: Config, subject: Subject, fitted: Fitted, arm: ArmName, units: Sequence[Unit]
) -> Entry:
    """Recall, held bytes and restored positions of one arm on one batch of problems."""
    spec = ARMS[arm]
    bounds = Bounds(config.sink, config.window, frozenset(config.exact_layers))
    plans = spec.plan(subject.teacher.layers, bounds)
    source: Source | None = None
    if spec.source == "own":
        source = OwnSource()
    elif spec.source == "projected":
        source = ProjectedSource(fitted.drafter, fitted.projection)
    verifier = Verifier(subject.model, plans, source, chunk=config.chunk, replaced=spec.replaced)
    problems, right, held, t_ms = _solve(subject, verifier, units)
    rows = []
    for unit, problem, hit in zip(units, problems, right, strict=True):
        scores = {"recall": int(hit)} | {
            name: number // len(units) for name, number in held.items()
        }
        scores["restored_positions"] = verifier.restored
        if unit.context == max(config.contexts):
            scores["longest_kv_bytes"] = scores["kv_bytes"]
        outside = problem.is_outside(sink=config.sink, window=config.window)
        at: dict[str, str | float] = {"context": unit.context, "outside": int(outside)}
        rows += [
            Sample(
                arm=arm, seed=unit.seed, unit=unit.id, input=problem.digest, measure=measure,
                score=score, at={} if measure in PLACELESS else at, t_ms=t_ms,
            )
            for measure, score in scores.items()
        ]  # fmt: skip
    counters = {
        f"{arm}.prompts": len(units),
        f"{arm}.restored_positions": verifier.restored * len(units),
    }
    return Entry(tuple(rows), counters)


def measure_loss_recall(
    config: Config, subject: Subject, fitted: Fitted, *, loss: LossName, seed: int
) -> list[Sample]:
    """Recall with every layer restored by the projection of one loss, at the shortest context."""
    plans = ARMS["projected"].plan(subject.teacher.layers, Bounds(config.sink, config.window))
    units = list_units(config, min(config.contexts), seed)
    rows = []
    for start in range(0, len(units), config.eval_rows):
        group = units[start : start + config.eval_rows]
        source = ProjectedSource(fitted.drafter, fitted.projection)
        verifier = Verifier(subject.model, plans, source, chunk=config.chunk)
        problems, right, _, t_ms = _solve(subject, verifier, group)
        rows += [
            Sample(
                arm=loss, seed=seed, unit=unit.id, input=problem.digest,
                measure="loss_recall", score=int(hit), t_ms=t_ms,
            )
            for unit, problem, hit in zip(group, problems, right, strict=True)
        ]  # fmt: skip
    return rows


def measure_mix(
    config: Config, subject: Subject, fitted: Fitted, alpha: float, units: Sequence[Unit]
) -> Entry:
    """Recall and relative error with `alpha` of the verifier's own K/V mixed in, on all layers."""
    plans = ARMS["projected"].plan(subject.teacher.layers, Bounds(config.sink, config.window))
    source = MixedSource(OwnSource(), ProjectedSource(fitted.drafter, fitted.projection), alpha)
    verifier = Verifier(subject.model, plans, source, chunk=config.chunk)
    problems, right, _, t_ms = _solve(subject, verifier, units)
    rows = [
        Sample(
            arm="mix", seed=unit.seed, unit=unit.id, input=problem.digest,
            measure="mix_recall", score=int(hit),
            at={"alpha": alpha}, t_ms=t_ms,
        )
        for unit, problem, hit in zip(units, problems, right, strict=True)
    ]  # fmt: skip
    kinds = {layer.index: layer.kind for layer in subject.teacher.owners}
    for kind, name in ((FULL, "full"), (SLIDING, "sliding")):
        found = [sums for layer, sums in source.errors.items() if kinds[layer] == kind]
        if found:
            total = torch.stack(found).sum(dim=0)
            error = float((total[0] + total[2]) / (total[1] + total[3]))
            rows.append(
                Sample(
                    arm="mix", seed=units[0].seed, unit=f"{units[0].id}-{name}", input=NO_INPUT,
                    measure=f"mix_error_{name}", score=error,
                    at={"alpha": alpha}, t_ms=t_ms * len(units),
                )
            )  # fmt: skip
    return Entry(tuple(rows))


def _solve(
    subject: Subject, verifier: Verifier, units: Sequence[Unit]
) -> tuple[list[Problem], list[bool], dict[str, int], float]:
    """Problems, whether each was solved, bytes held after the prompts, milliseconds of each."""
    problems = [subject.task.make_problem(unit) for unit in units]
    ids = torch.tensor([problem.ids for problem in problems], device=subject.device)
    started_s = time.perf_counter()
    decoded = verifier.decode(ids, new_tokens=subject.task.new_tokens)
    t_ms = (time.perf_counter() - started_s) * 1000 / len(units)
    right = [
        subject.task.is_right(problem, tokens)
        for problem, tokens in zip(problems, decoded.tokens.tolist(), strict=True)
    ]
    held = {
        "kv_bytes": sum(decoded.held.values()),
        "kv_bytes_verifier": decoded.held["verifier"],
        "kv_bytes_latents": decoded.held["source"],
        "kv_bytes_drafter": decoded.held["drafter"],
    }
    return problems, right, held, t_ms
