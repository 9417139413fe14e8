"""Judged gates as JSON rows: decimal strings, one shape for records, commands and reports."""

from __future__ import annotations

from typing import Any

from evidence.gates.evaluate import Finding
from evidence.gates.judge import Judged
from evidence.gates.verdicts import Verdict
from evidence.numbers import format_bound, format_value
from evidence.statistics import Interval

MAX_FLIPS = 5


def gate_row(judged: Judged) -> dict[str, Any]:
    """One gate with its verdict, as it stands in a record."""
    gate, finding = judged.gate, judged.finding
    row: dict[str, Any] = {
        "id": gate.id,
        "kind": gate.kind.value,
        "blocking": gate.blocking,
        "digest": gate.digest,
        **gate.document,
        "needs": list(gate.needs),
        "verdict": judged.verdict.value,
        "own_verdict": judged.own.value,
        "unmet": list(judged.unmet),
        **finding_row(finding),
        "loo_flips": bool(judged.flips),
        "flips": [
            {
                "metric": flip.metric,
                "sample": flip.sample,
                "verdict": flip.verdict.value,
                "by": flip.by,
            }
            for flip in judged.flips[:MAX_FLIPS]
        ],
        "needs_n": judged.need.n if judged.need else None,
    }
    if judged.outcome is not None:
        row["outcome"] = judged.outcome.value
    for key, value in (("tags", list(gate.tags)), ("note", gate.note), ("expect", gate.expect)):
        if value:
            row[key] = value
    row["message"] = explain(judged)
    return row


def finding_row(finding: Finding) -> dict[str, Any]:
    """What was observed, with the parts of a compound rule."""
    row: dict[str, Any] = {
        "label": finding.label,
        "observed": None if finding.observed is None else format_value(finding.observed),
        "threshold": finding.threshold,
        "ci": interval_row(finding.interval),
        "n": finding.n,
        "why": finding.why,
    }
    if finding.parts:
        row["parts"] = [
            {"verdict": part.verdict.value, **finding_row(part)} for part in finding.parts
        ]
    return row


def interval_row(interval: Interval | None) -> dict[str, str] | None:
    """An interval as it stands in a record; an open side is "-inf" or "inf"."""
    if interval is None:
        return None
    return {
        "lo": format_bound(interval.lo),
        "hi": format_bound(interval.hi),
        "level": format_bound(interval.level),
        "method": interval.method,
        "sided": interval.sided,
    }


def explain(judged: Judged) -> str:
    """One line for a person: why this verdict, and what would change it."""
    words = []
    if judged.unmet:
        words.append(f"needs {', '.join(judged.unmet)}, which did not pass")
    if judged.finding.why:
        words.append(judged.finding.why)
    words += [
        part.why for part in judged.finding.parts if part.why and part.verdict is not Verdict.PASS
    ]
    if judged.own is Verdict.INCONCLUSIVE and judged.gate.decide.by == "ci":
        words += _advise(judged)
    if judged.flips:
        flip = judged.flips[0]
        words.append(f"leaving out {flip.metric} {flip.sample} makes it {flip.verdict.value}")
    return "; ".join(dict.fromkeys(word for word in words if word))


def _advise(judged: Judged) -> list[str]:
    need, sizes = judged.need, _sizes(judged.finding)
    if need is None or not sizes:
        return []
    if need.n is None:
        return [f"can never pass by interval: {need.why}"]
    if min(sizes) < need.n:
        return [f"needs n >= {need.n} ({need.why})"]
    return []


def _sizes(finding: Finding) -> list[int]:
    own = [finding.n] if finding.n is not None else []
    return own + [size for part in finding.parts for size in _sizes(part)]
