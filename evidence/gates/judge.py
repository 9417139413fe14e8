"""A list of gates on one record: verdicts in order of need, overall verdict, JSON rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evidence.gates.evaluate import Finding, judge_rule
from evidence.gates.leave_out import Flip, find_flips
from evidence.gates.power import Need, smallest_n
from evidence.gates.resolve import Scope
from evidence.gates.syntax import AllOf, Each, Gate, Kind
from evidence.gates.verdicts import (
    PredictionOutcome,
    Verdict,
    apply_needs,
    overall,
    resolve_prediction,
)
from evidence.gates.view import View


@dataclass(frozen=True, slots=True)
class Judged:
    """A gate with what came of it.

    Attributes:
        own: the verdict of the rule by itself, before `needs`.
        unmet: the needed gates that did not pass.
        flips: samples that change the rule's verdict when left out.
        need: the smallest n at which the gate can pass.
    """

    gate: Gate
    verdict: Verdict
    own: Verdict
    finding: Finding
    unmet: tuple[str, ...] = ()
    flips: tuple[Flip, ...] = ()
    need: Need | None = None

    @property
    def outcome(self) -> PredictionOutcome | None:
        """What a prediction came to, None for a gate."""
        if self.gate.kind is not Kind.PREDICTION:
            return None
        parts = self.finding.parts if isinstance(self.gate.rule, (AllOf, Each)) else ()
        return resolve_prediction(self.verdict, (part.verdict for part in parts))


def judge_gates(
    gates: Sequence[Gate], view: View, bases: Mapping[str, View] | None = None
) -> tuple[Judged, ...]:
    """Every gate judged on `view`, in the order given."""
    scope = Scope(view, bases or {})
    own = {gate.id: _judge_own(gate, scope) for gate in gates}
    verdicts: dict[str, Verdict] = {}

    def verdict_of(name: str) -> Verdict:
        if name not in own:
            return Verdict.ERROR  # a gate that could not be read meets no need
        if name not in verdicts:
            needed = [verdict_of(other) for other in own[name].gate.needs]
            verdicts[name] = apply_needs(own[name].own, needed)
        return verdicts[name]

    judged = []
    for gate in gates:
        unmet = tuple(name for name in gate.needs if verdict_of(name) is not Verdict.PASS)
        judged.append(replace(own[gate.id], verdict=verdict_of(gate.id), unmet=unmet))
    return tuple(judged)


def _judge_own(gate: Gate, scope: Scope) -> Judged:
    seed = f"{scope.view.seed} {gate.digest}"
    finding = judge_rule(gate.rule, scope, gate.decide, seed)
    flips = find_flips(gate, scope, finding.verdict, seed)
    need = smallest_n(gate.rule, gate.decide)
    return Judged(gate, finding.verdict, finding.verdict, finding, flips=flips, need=need)


def overall_verdict(judged: Sequence[Judged]) -> Verdict:
    """The verdict of the blocking gates and controls; without any it is `missing`."""
    return overall(one.verdict for one in judged if one.gate.blocking)


def count_verdicts(judged: Sequence[Judged]) -> dict[str, int]:
    """How many blocking gates came to each verdict."""
    return _count(judged, blocking=True)


def count_advisory(judged: Sequence[Judged]) -> dict[str, int]:
    """How many gates that do not block (predictions apart) came to each verdict."""
    return _count(judged, blocking=False)


def _count(judged: Sequence[Judged], *, blocking: bool) -> dict[str, int]:
    kept = [
        one.verdict
        for one in judged
        if one.gate.blocking is blocking and one.gate.kind is not Kind.PREDICTION
    ]
    return {verdict.value: sum(one is verdict for one in kept) for verdict in Verdict}
