"""Whether a gate can pass at all with the samples that a plan gives it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from evidence.gaps import metrics_of
from evidence.gates.power import smallest_n
from evidence.gates.syntax import Each, Gate, Rule
from evidence.spec import MetricSpec, Spec


def find_hopeless(spec: Spec) -> dict[str, str]:
    """The gates that cannot pass however every sample falls, each with the reason.

    Only what is certain is told: where the plan leaves the number of samples open, any number may
    come, and a metric may pool every dimension that it does not tell apart.
    """
    found: dict[str, str] = {}
    for gate in spec.gates:
        why = _why_hopeless(gate, spec)
        if why:
            found[gate.id] = why
    return found


def _why_hopeless(gate: Gate, spec: Spec) -> str:
    need = smallest_n(gate.rule, gate.decide)
    if need.n is None:
        return need.why
    if gate.decide.by == "point" or spec.plan.n is None:
        return ""
    by_name = {metric.name: metric for metric in spec.metrics}
    bound = _places(gate.rule)
    sizes = [
        _most_samples(by_name[name], spec, bound)
        for name in metrics_of(gate.rule)
        if name in by_name
    ]
    most = min(sizes, default=need.n)
    if most >= need.n:
        return ""
    return f"{need.n} samples are needed ({need.why}), the plan gives {most} at most"


def _places(rule: Rule) -> set[str]:
    return {rule.dimension} | _places(rule.rule) if isinstance(rule, Each) else set()


def _most_samples(metric: MetricSpec, spec: Spec, bound: set[str]) -> int:
    """The most rows that one value of a metric can rest on."""
    assert spec.plan.n is not None
    apart = set(metric.by) | set(metric.where) | bound
    pooled: Mapping[str, int] = {
        name: len(places) for name, places in spec.plan.places().items() if name not in apart
    }
    return spec.plan.n * prod(pooled.values())
