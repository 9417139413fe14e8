"""Equilibrium propagation on a transformer block: estimators against exact gradients, and why.

The rounds follow the source document: A compares estimators, B averages over batches, C looks for
a stable exact training, D finds which weights an estimator gets wrong; then the follow-on training,
the penalty's share of an update, and structures that need no penalty.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch

from bridge import canonical
from workloads.equilibrium import averaging, estimators, hijack, runs
from workloads.equilibrium.bench import Bench, Rows
from workloads.equilibrium.config import Config
from workloads.equilibrium.relaxation import measure_asymmetry
from workloads.equilibrium.training import evaluate, rest_on
from workloads.shared.context import Context
from workloads.shared.journal import Entry
from workloads.shared.parallel import count_workers, run_side_by_side

__all__ = ["Config", "run"]

HIJACK_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work that a checkpoint counts.

    Attributes:
        start: the seed of the trained block that it starts from, None for an untrained one.
    """

    key: str
    work: Callable[[], Iterable[Rows]]
    start: int | None = None


def run(config: Config, context: Context) -> None:
    """Run the rounds; the input `essays` is a folder of texts."""
    bench = Bench(config, context)
    context.state(
        scale=config.scale,
        device=config.device,
        parameters=sum(value.numel() for value in bench.start_parameters(0).values()),
        characters=len(bench.text.train) + len(bench.text.held),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    units = _list_units(config, bench, context)
    left = [unit for unit in units if not context.resume(unit.key)]
    workers = count_workers(config.device)
    seeds = sorted({unit.start for unit in left if unit.start is not None})
    for _ in run_side_by_side([partial(bench.prepare, seed, context) for seed in seeds], workers):
        pass
    measured = run_side_by_side([partial(_measure, unit) for unit in left], workers)
    for step, (unit, entry) in enumerate(zip(left, measured, strict=True), start=1):
        context.commit(unit.key, entry)
        done = len(units) - len(left) + step
        context.progress(done, len(units), f"equilibrium {unit.key}")


def _measure(unit: Unit) -> Entry:
    started_s, used_s = time.monotonic(), time.process_time()
    found = [row for rows in unit.work() for row in rows.found]
    t_ms = (time.monotonic() - started_s) * 1000 / len(found)
    counted = Counter({f"{unit.key.split()[0]}.units": 1, "rows": len(found)})
    counted[f"{unit.key.split()[0]}.process_ms"] = round((time.process_time() - used_s) * 1000)
    return Entry(tuple(replace(row, t_ms=t_ms) for row in found), counted)


def _list_units(config: Config, bench: Bench, context: Context) -> list[Unit]:
    found: list[Unit] = []
    for seed in config.seeds:
        found += _list_seed(config, bench, context, seed)
    return [unit for unit in found if unit.key.split()[0] in config.rounds]


def _list_seed(config: Config, bench: Bench, context: Context, seed: int) -> list[Unit]:
    sizes = bench.sizes

    def theta() -> dict[str, torch.Tensor]:
        return bench.trained(seed, context).theta

    def start() -> dict[str, torch.Tensor]:
        return bench.start_parameters(seed)

    found = [Unit(f"train {seed}", lambda: [_describe(bench, context, seed)], seed)]
    for state, get, pairs in (("init", start, sizes.init_pairs), ("trained", theta, sizes.pairs)):
        for index in range(pairs):
            found.append(
                Unit(
                    f"estimators {state} {seed} {index}",
                    lambda get=get, state=state, index=index: estimators.compare_pair(  # type: ignore[misc]
                        bench, get(), state, seed, index
                    ),
                    seed if state == "trained" else None,
                )
            )
    found.append(Unit(f"averaging {seed}", lambda: averaging.sweep(bench, theta(), seed), seed))
    for arm in runs.FOLLOWERS:
        found.append(
            Unit(
                f"following {arm} {seed}",
                lambda arm=arm: [runs.follow(bench, theta(), arm, seed)],  # type: ignore[misc]
                seed,
            )
        )
    for index in range(HIJACK_BATCHES):
        found.append(
            Unit(
                f"hijack {seed} {index}",
                lambda index=index: [hijack.decompose(bench, theta(), seed, index)],  # type: ignore[misc]
                seed,
            )
        )
    if seed in config.seeds[: sizes.rescue_seeds]:
        found += _list_runs(config, bench, theta, seed)
    return found


def _list_runs(
    config: Config, bench: Bench, theta: Callable[[], dict[str, torch.Tensor]], seed: int
) -> list[Unit]:
    found = [
        Unit(
            f"rescue {rate:g} {ceiling:g} {seed}",
            lambda rate=rate, ceiling=ceiling: [  # type: ignore[misc]
                runs.rescue(bench, theta(), rate, ceiling, seed)
            ],
            seed,
        )
        for rate in config.rates
        for ceiling in config.ceilings
    ]
    return found + [
        Unit(f"structure {arm} {seed}", lambda arm=arm: [runs.build(bench, arm, seed)])  # type: ignore[misc]
        for arm in runs.list_structures(config.ceiling)
    ]


def _describe(bench: Bench, context: Context, seed: int) -> Rows:
    """The checkpoint of a seed beside the untrained block, on held-out text."""
    trained = bench.trained(seed, context)
    rows = Rows(seed, f"train-s{seed}", canonical.digest(["train", seed]))
    held = bench.draw_held(seed)
    for state, theta in (("init", bench.start_parameters(seed)), ("trained", trained.theta)):
        found = evaluate(bench.block, theta, held, relax_steps=bench.sizes.relax_steps)
        cell = {"state": state}
        rows.add("block", "held_loss", sum(loss for loss, _ in found) / len(found), cell)
        rows.add("block", "held_residual", max(residual for _, residual in found), cell)
        x = bench.block.embed(theta, held[0].inputs)
        rest = rest_on(bench.block, theta, held[0], bench.sizes.relax_steps).z
        _, ratio = measure_asymmetry(bench.block, theta, x, rest, name=("held", seed, state))
        rows.add("block", "held_asymmetry", ratio, cell)
    rows.add("block", "steps_trained", len(trained.losses), {"state": "trained"})
    rows.add("block", "broke", trained.broke_at is not None, {"state": "trained"})
    return rows
