"""What was planned and did not happen, and what happened without a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evidence.gates.resolve import leaves_of
from evidence.gates.syntax import AllOf, AnyOf, Compare, Each, Not, Rule, Trend, Within
from evidence.measuring import Selection, planned_cells
from evidence.samples import Sample
from evidence.spec import Spec

MAX_GAPS = 40
NO_SAMPLE = "planned, but no sample was written"


def find_gaps(spec: Spec, selection: Selection) -> list[dict[str, Any]]:
    """Planned cells whose samples are too few, too many or none, and rows without a score.

    A gap bears load where a blocking gate reads a metric of the measure.
    """
    loaded = loaded_measures(spec)
    found: list[dict[str, Any]] = []
    for measure in dict.fromkeys(metric.measure for metric in spec.metrics):
        rows = [row for row in selection.counted if row.measure == measure]
        found += _cell_gaps(spec, measure, rows, load=measure in loaded)
        failed = [row for row in rows if row.score is None]
        if failed:
            why = Counter(row.error for row in failed).most_common(1)[0][0]
            found.append(
                _gap(f"{len(failed)} scores of {measure}", f"failed: {why}", measure in loaded)
            )
    if selection.overlap:
        what = f"{len(selection.overlap)} fresh samples"
        found.append(_gap(what, "their inputs had warmed the same arm up", load=True))
    if len(found) > MAX_GAPS:
        rest = found[MAX_GAPS:]
        load = any(gap["load_bearing"] for gap in rest)
        found = [*found[:MAX_GAPS], _gap(f"{len(rest)} more", "not listed", load)]
    return found


def loaded_measures(spec: Spec) -> set[str]:
    """The measures that blocking gates read."""
    names = {name for gate in spec.gates if gate.blocking for name in metrics_of(gate.rule)}
    return {metric.measure for metric in spec.metrics if metric.name in names}


def metrics_of(rule: Rule) -> set[str]:
    """The metrics that a rule reads from the record itself."""
    if isinstance(rule, (Compare, Within)):
        return {leaf.name for side in (rule.left, rule.right) for leaf in leaves_of(side)}
    if isinstance(rule, Trend):
        return {rule.series.name}
    if isinstance(rule, (AllOf, AnyOf)):
        return {name for inner in rule.rules for name in metrics_of(inner)}
    return metrics_of(rule.rule) if isinstance(rule, (Each, Not)) else set()


def _cell_gaps(
    spec: Spec, measure: str, rows: Sequence[Sample], *, load: bool
) -> list[dict[str, Any]]:
    plan = spec.plan
    if not (plan.arms or plan.seeds or plan.dims):
        return [] if rows else [_gap(f"samples of {measure}", "none were written", load)]
    found = []
    names = (
        set(plan.dims) & {name for row in rows for name, _ in row.at} if rows else set(plan.dims)
    )
    counts: Counter[Any] = Counter(
        (row.arm, row.seed, tuple(pair for pair in row.at if pair[0] in names)) for row in rows
    )
    for arm, seed, at in planned_cells(plan):
        places = tuple(pair for pair in at if pair[0] in names)
        count = sum(
            number
            for (row_arm, row_seed, row_at), number in counts.items()
            if arm in (None, row_arm) and seed in (None, row_seed) and row_at == places
        )
        if count == 0 or (plan.n is not None and count != plan.n):
            what = ", ".join(
                [*filter(None, [arm]), *(f"{k}={v}" for k, v in places), f"seed {seed}"]
            )
            planned = f"{plan.n} samples" if plan.n else "samples"
            gap = _gap(f"{measure}[{what}]: {planned}", f"{count} found", load)
            if gap not in found:
                found.append(gap)
    return found


def _gap(planned: str, why: str, load: bool) -> dict[str, Any]:
    return {"planned": planned, "why": why, "load_bearing": load}


def find_exploratory(selection: Selection, measures: Iterable[str]) -> list[dict[str, Any]]:
    """What was measured without a plan: it is shown, and never decides."""
    found = []
    places = Counter(
        f"{row.arm} seed {row.seed} {', '.join(f'{k}={v}' for k, v in row.at)}".strip()
        for row in selection.unplanned
    )
    for place, count in places.most_common(20):
        found.append({"what": f"samples outside the plan: {place}", "rows": count})
    known = set(measures)
    others = Counter(row.measure for row in selection.counted if row.measure not in known)
    found += [
        {"what": f"measure {name!r} without a metric", "rows": n} for name, n in others.items()
    ]
    return found


def seed_table(
    spec: Spec, selection: Selection, excluded: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Seeds planned, run, and excluded with a reason; planned = run + excluded."""
    run = sorted({row.seed for row in selection.counted}, key=_seed_order)
    reasons = {str(item["seed"]): dict(item) for item in excluded}
    for seed in spec.plan.seeds:
        if seed not in run and seed not in reasons:
            reasons[seed] = {"seed": seed, "reason": NO_SAMPLE}
    return {"planned": list(spec.plan.seeds), "run": run, "excluded": list(reasons.values())}


def _seed_order(seed: str) -> tuple[int, str]:
    return (int(seed) if seed.lstrip("-").isdigit() else 0, seed)
