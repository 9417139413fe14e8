"""What was planned and did not happen, and what happened without a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evidence.gates.resolve import leaves_of
from evidence.gates.syntax import AllOf, AnyOf, Compare, Each, Not, Rule, Trend, Within
from evidence.measuring import Selection, planned_cells
from evidence.metrics import Coordinates
from evidence.samples import Sample
from evidence.spec import Spec

MAX_GAPS = 40
MAX_CELLS = 3
NO_SAMPLE = "planned, but no sample was written"


def find_gaps(spec: Spec, selection: Selection) -> list[dict[str, Any]]:
    """Planned cells whose samples are too few, too many or none, and rows without a score.

    A gap bears load where a blocking gate reads a metric of the measure. Measures that lack the
    same things share a line.
    """
    loaded = loaded_measures(spec)
    lines: dict[tuple[str, str], list[str]] = {}
    for measure in dict.fromkeys(metric.measure for metric in spec.metrics):
        rows = [row for row in selection.counted if row.measure == measure]
        for line in _cell_gaps(spec, rows):
            lines.setdefault(line, []).append(measure)
        failed = [row for row in rows if row.score is None]
        if failed:
            why = Counter(row.error for row in failed).most_common(1)[0][0]
            lines.setdefault((f"{len(failed)} scores", f"failed: {why}"), []).append(measure)
    found = [
        _gap(f"{', '.join(measures)}: {planned}", why, not loaded.isdisjoint(measures))
        for (planned, why), measures in lines.items()
    ]
    if selection.overlap:
        what = f"{len(selection.overlap)} fresh samples"
        found.append(_gap(what, "their inputs had warmed the same arm up", load=True))
    return _cap(found)


def _cap(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(found) <= MAX_GAPS:
        return found
    rest = found[MAX_GAPS:]
    load = any(gap["load_bearing"] for gap in rest)
    return [*found[:MAX_GAPS], _gap(f"{len(rest)} more", "not listed", load)]


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


Cell = tuple[tuple[str, str], ...]


def _cell_gaps(spec: Spec, rows: Sequence[Sample]) -> list[tuple[str, str]]:
    """What a measure lacks, as (planned, why): whole places first, then single cells."""
    plan = spec.plan
    if not rows:
        return [("samples", "none were written")]
    if not (plan.arms or plan.seeds or plan.dims):
        return []
    names = {name for row in rows for name, _ in row.at} & set(plan.dims)
    planned = list(dict.fromkeys(_planned_cell(cell, names) for cell in planned_cells(plan)))
    counts = Counter(_cell_of(row, spec, names) for row in rows)
    wrong = [cell for cell in planned if counts[cell] == 0 or plan.n not in (None, counts[cell])]
    found = []
    for place in dict.fromkeys(pair for cell in wrong for pair in cell):
        there = [cell for cell in planned if place in cell]
        whole = all(cell in wrong and counts[cell] == 0 for cell in there)
        if whole and len(there) < len(planned):
            found.append((_say([place]), f"none found in {len(there)} cells"))
            wrong = [cell for cell in wrong if place not in cell]
    groups: dict[int, list[Cell]] = {}
    for cell in wrong:
        groups.setdefault(counts[cell], []).append(cell)
    for count, cells in sorted(groups.items()):
        size = f"{plan.n} samples" if plan.n is not None else "samples"
        shown = "; ".join(_say(cell) for cell in cells[:MAX_CELLS])
        more = f" and {len(cells) - MAX_CELLS} cells more" if len(cells) > MAX_CELLS else ""
        found.append((f"{size} at {shown}{more}", f"{count} found"))
    return found


def _planned_cell(cell: tuple[str | None, str | None, Coordinates], names: set[str]) -> Cell:
    arm, seed, at = cell
    head = [("arm", arm)] if arm is not None else []
    tail = [("seed", seed)] if seed is not None else []
    return (*head, *(pair for pair in at if pair[0] in names), *tail)


def _cell_of(row: Sample, spec: Spec, names: set[str]) -> Cell:
    head = [("arm", row.arm)] if spec.plan.arms else []
    tail = [("seed", row.seed)] if spec.plan.seeds else []
    return (*head, *(pair for pair in row.at if pair[0] in names), *tail)


def _say(cell: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={place}" for name, place in cell)


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
