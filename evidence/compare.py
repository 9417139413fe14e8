"""Two records side by side: what moved, by how much, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evidence.gates.evaluate import judge_rule
from evidence.gates.resolve import Scope
from evidence.gates.rows import interval_row
from evidence.gates.syntax import Compare, Constant, Decide, Difference, MetricTerm
from evidence.gates.tables import transition
from evidence.gates.view import View
from evidence.numbers import format_value, parse_decimal

COMPARED = ("hardware", "params", "preset", "evaluator", "code")
MUST_AGREE = ("hardware", "params", "preset", "evaluator")
_WORDS = {
    "lost": "PASS→FAIL",
    "gained": "FAIL→PASS",
    "vanished": "vanished",
    "redefined": "redefined",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing two records.

    Attributes:
        transitions: `{case, change, before, after}` for every case that did not stay as it was.
        deltas: `{name, arm, at, before, after, delta, ci, decided}` of metrics that both have.
        agreement: what was compared: same, differs or unknown.
        comparable: whether all that must agree does.
        why: one line for a person.
    """

    transitions: tuple[dict[str, str], ...]
    deltas: tuple[dict[str, Any], ...]
    agreement: Mapping[str, str]
    comparable: bool
    why: str

    def as_json(self) -> dict[str, Any]:
        """The comparison as `--json` prints it."""
        return {
            "schema": "kakeya.comparison/1",
            "comparable": self.comparable,
            "why": self.why,
            "agreement": dict(self.agreement),
            "transitions": list(self.transitions),
            "deltas": list(self.deltas),
        }


def compare(before: View, after: View) -> Comparison:
    """Compare a record with an earlier one."""
    agreement = dict(_agree(before, after))
    differing = [key for key, word in agreement.items() if word == "differs" and key != "code"]
    unknown = [key for key, word in agreement.items() if word == "unknown" and key != "code"]
    why = f"differs in {', '.join(differing)}" if differing else ""
    if unknown:
        why = "; ".join(filter(None, [why, f"nothing recorded of {', '.join(unknown)}"]))
    return Comparison(
        transitions=tuple(_transitions(before, after)),
        deltas=tuple(_deltas(before, after)),
        agreement=agreement,
        comparable=not differing and not unknown,
        why=why or "same hardware, params, preset, inputs and evaluator",
    )


def _agree(before: View, after: View) -> Iterator[tuple[str, str]]:
    inputs = {key for view in (before, after) for key in view.digests if key.startswith("input:")}
    for key in (*COMPARED, *sorted(inputs)):
        old, new = before.digests.get(key), after.digests.get(key)
        if old is None or new is None:
            yield key, "unknown"
        else:
            yield key, "same" if old == new else "differs"


def _transitions(before: View, after: View) -> Iterator[dict[str, str]]:
    old, new = before.cases or {}, after.cases or {}
    for name in old:
        kind = transition(name, old, new)
        moved = kind in _WORDS or (name in new and new[name][0] != old[name][0])
        if moved:
            yield {
                "case": name,
                "change": _WORDS.get(kind, "changed"),
                "before": old[name][0],
                "after": new[name][0] if name in new else "",
            }
    for name in new:
        if name not in old:
            yield {"case": name, "change": "new", "before": "", "after": new[name][0]}


def _deltas(before: View, after: View) -> Iterator[dict[str, Any]]:
    places = {(metric.name, metric.arm, metric.at) for metric in before.metrics}
    scope = Scope(after, {"before": before})
    zero = Constant(parse_decimal("0"), "0")
    for metric in after.metrics:
        if (metric.name, metric.arm, metric.at) not in places:
            continue
        now = MetricTerm(metric.name, metric.arm, metric.at)
        then = MetricTerm(metric.name, metric.arm, metric.at, base="before")
        rule = Compare(Difference(now, then), "!=", zero)
        seed = f"{before.seed} {after.seed}"
        point = judge_rule(rule, scope, Decide(), seed)
        found = judge_rule(rule, scope, Decide("ci"), seed)
        yield {
            "name": metric.name,
            "arm": metric.arm,
            "at": dict(metric.at),
            "delta": None if point.observed is None else format_value(point.observed),
            "ci": interval_row(found.interval),
            "n": found.n,
            "decided": {"pass": "differs", "fail": "equal"}.get(found.verdict.value, "undecided"),
            "why": found.why,
        }
