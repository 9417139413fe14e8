"""The rows of a run: cases with their figures, axes, transitions, losses."""

from __future__ import annotations

import math

from bridge import canonical
from workloads.ams_audit.audit import Audit, Table, compare, count_as_defined
from workloads.ams_audit.training import Trained
from workloads.shared.samples import Sample

CURVE_EVERY = 10
CHANGES = ("gained", "lost", "redefined")


def list_findings(audit: Audit, arm: str, seed: int) -> list[Sample]:
    """Every case with its figures and whether it could be measured, the axes, the count."""
    rows = [tell(arm, seed, "passed", audit.passed)]
    for finding in audit.findings:
        at: dict[str, str | float] = {"case": finding.case.id, "axis": finding.case.axis}
        rows.append(tell(arm, seed, "case", finding.passed, at, finding.digest))
        # the same with the arm as a place, so that one picture shows all arms
        place: dict[str, str | float] = {"memory": arm, "case": finding.case.id}
        rows.append(tell(arm, seed, "verdict", finding.passed, place, finding.digest))
        rows.append(tell(arm, seed, "measured", finding.error is None, at, finding.digest))
        rows += [
            tell(arm, seed, "figure", value, {"case": finding.case.id, "figure": name},
                 finding.digest)
            for name, value in finding.figures.items()
            if math.isfinite(value)
        ]  # fmt: skip
    for axis, (figure, holds) in audit.axes().items():
        rows.append(tell(arm, seed, "axis", holds, {"axis": axis}))
        rows.append(tell(arm, seed, "axis_figure", figure, {"axis": axis}))
    return rows


def list_transitions(before: Table, audit: Audit, arm: str, seed: int) -> list[Sample]:
    """What became of every case since `before`, how often, and passes as they were defined."""
    changes = compare(before, audit.table())
    rows = [
        tell(arm, seed, "transition", True, {"case": name, "change": change})
        for name, change in changes.items()
    ]
    for kind in CHANGES:
        rows.append(tell(arm, seed, kind, list(changes.values()).count(kind)))
    rows.append(tell(arm, seed, "passed_as_defined", count_as_defined(before, audit.table())))
    return rows


def list_losses(trained: Trained, arm: str, seed: int) -> list[Sample]:
    """Every loss at every tenth step and at the last."""
    return [
        tell(arm, seed, "loss", value, {"step": step, "term": term})
        for step, losses in enumerate(trained.history)
        if step % CURVE_EVERY == 0 or step == len(trained.history) - 1
        for term, value in losses.items()
    ]


def list_marks(trained: Trained, arm: str, seed: int) -> list[Sample]:
    """What a memory was before training."""
    return [tell(arm, seed, name, value) for name, value in trained.marks.items()]


def tell(
    arm: str,
    seed: int,
    measure: str,
    score: float,
    at: dict[str, str | float] | None = None,
    digest: str | None = None,
) -> Sample:
    """One row; its unit is the memory of a seed at the row's place, so that arms pair up."""
    unit = "-".join([f"s{seed}", *map(str, (at or {}).values())])
    return Sample(
        arm=arm, seed=seed, unit=unit, input=digest or canonical.digest([measure, unit]),
        measure=measure, score=score, at=at or {},
    )  # fmt: skip
