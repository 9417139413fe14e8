"""The evidence record: facts and spec and samples in, `kakeya.evidence/1` out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bridge import canonical, schema
from evidence.doubts import find_doubts
from evidence.evaluator import evaluator
from evidence.gaps import find_exploratory, find_gaps, metrics_of, seed_table
from evidence.gates.judge import (
    Judged,
    count_advisory,
    count_verdicts,
    judge_gates,
    overall_verdict,
)
from evidence.gates.rows import gate_row
from evidence.gates.syntax import Gate, Kind
from evidence.gates.verdicts import PredictionOutcome
from evidence.gates.view import View, read_view
from evidence.measuring import Selection, build_metrics, metric_row, select
from evidence.metrics import Metric
from evidence.samples import read_samples
from evidence.spec import Spec, parse_spec

SCHEMA = "kakeya.evidence/1"
SAMPLES_PATH = "samples.jsonl"
FACT_KEYS = (
    "id", "request", "preset", "code", "inputs", "runner", "hardware", "env", "attempts",
    "artifacts", "timings", "workload", "digests", "sets", "cover", "changed_paths", "execution",
    "seeds_excluded", "non_claims", "trusted", "left",
)  # fmt: skip
_LISTS = ("inputs", "attempts", "artifacts", "left")
_TABLES = (
    "request", "preset", "code", "runner", "hardware", "env", "timings", "workload", "digests",
    "sets", "cover", "execution", "trusted",
)  # fmt: skip
_OWN_DIGESTS = ("preset", "params", "code", "tree", "hardware", "evaluator")


@dataclass(frozen=True, slots=True)
class Material:
    """What a record is made of.

    Attributes:
        facts: what the runner knows (keys of FACT_KEYS).
        spec: the preset's metrics, gates, plan and plots, and the request's predictions.
        samples: the bytes of the samples file, None where the job wrote none.
        bases: baseline records by alias, as JSON data.
        samples_path: where the samples lie, relative to the record.
        base_digests: digests of the whole baselines, where `bases` holds their reduced form.
    """

    facts: Mapping[str, Any]
    spec: Mapping[str, Any]
    samples: bytes | None
    bases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples_path: str = SAMPLES_PATH
    base_digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A record with what the reports draw from."""

    record: dict[str, Any]
    spec: Spec
    metrics: tuple[Metric, ...]
    selection: Selection
    judged: tuple[Judged, ...]
    view: View


def assemble(material: Material) -> Assembled:
    """Reduce, judge and bind everything into one record.

    Raises:
        ManifestError: the facts, the spec, the samples or a baseline do not have their shape.
    """
    schema.check(dict(material.facts), schema.load("evidence", "facts"), where="facts")
    spec = parse_spec(material.spec)
    samples = read_samples(material.samples or b"", where=material.samples_path)
    selection = select(samples, spec.plan)
    metrics = build_metrics(spec, selection.counted)
    seeds = seed_table(spec, selection, material.facts.get("seeds_excluded", ()))
    view = _view(material, spec, metrics, seeds)
    bases = {
        name: read_view(base, where=f"baseline {name}") for name, base in material.bases.items()
    }
    registered = [one.gate for one in spec.predictions if one.gate is not None]
    judged = judge_gates((*spec.gates, *registered), view, bases)
    derived = _derive(material, spec, selection, metrics, judged)
    cases = {name: (case["verdict"], case["gate"]) for name, case in derived["cases"].items()}
    view = replace(view, cases=cases)
    record = _bind(material, spec, seeds, view, derived)
    return Assembled(record, spec, metrics, selection, judged, view)


def _view(material: Material, spec: Spec, metrics: tuple[Metric, ...], seeds: Any) -> View:
    facts = material.facts
    plain = {key: facts.get(key) for key in ("sets", "cover", "digests", "changed_paths")}
    view = read_view(plain | {"seeds": seeds})
    return replace(
        view,
        metrics=metrics,
        dims=spec.plan.places(),
        digests=dict(view.digests) | record_digests(facts),
        seed=canonical.digest_bytes(material.samples or b""),
    )


def record_digests(facts: Mapping[str, Any]) -> dict[str, str]:
    """The digests that `same` can compare, drawn from the facts."""
    found = {
        "preset": facts.get("preset", {}).get("digest"),
        "params": canonical.digest(facts.get("preset", {}).get("params", {})),
        "code": facts.get("code", {}).get("commit"),
        "tree": facts.get("code", {}).get("tree"),
        "hardware": facts.get("hardware", {}).get("fingerprint"),
        "evaluator": evaluator()["digest"],
    }
    for item in facts.get("inputs", ()):
        found[f"input:{item.get('role', '')}"] = item.get("digest")
    return {key: str(value) for key, value in found.items() if value}


def is_own_digest(key: str) -> bool:
    """Whether `record_digests` makes this key, so that it is no fact of its own."""
    return key in _OWN_DIGESTS or key.startswith("input:")


def _derive(
    material: Material,
    spec: Spec,
    selection: Selection,
    metrics: tuple[Metric, ...],
    judged: tuple[Judged, ...],
) -> dict[str, Any]:
    own = {gate.id for gate in spec.gates}
    by_name = {one.name: one for one in spec.metrics}
    seed = canonical.digest_bytes(material.samples or b"")
    gates = [one for one in judged if one.gate.id in own]
    rows = [gate_row(one) for one in gates if one.gate.kind is not Kind.PREDICTION]
    verdict = overall_verdict(gates)
    doubts = find_doubts(material.facts, selection)
    return {
        "metrics": [metric_row(metric, by_name[metric.name], seed) for metric in metrics],
        "gates": rows,
        "controls": [_control(one) for one in gates if one.gate.kind is Kind.CONTROL],
        "predictions": _prediction_rows(spec, judged),
        "cases": {row["id"]: {"verdict": row["verdict"], "gate": row["digest"]} for row in rows},
        "doubts": doubts,
        "gaps": find_gaps(spec, selection),
        "exploratory": find_exploratory(selection, [one.measure for one in spec.metrics]),
        "result": {
            "gates": verdict.value,
            "counts": count_verdicts(gates),
            "advisory": count_advisory(gates),
            "execution": str(material.facts.get("execution", {}).get("reason", "done")),
            "integrity": "doubted" if doubts else "ok",
        },
    }


def _control(judged: Judged) -> dict[str, Any]:
    return {"id": judged.gate.id, "verdict": judged.verdict.value, "blocking": judged.gate.blocking}


def _prediction_rows(spec: Spec, judged: tuple[Judged, ...]) -> list[dict[str, Any]]:
    found = {one.gate.id: one for one in judged if one.gate.kind is Kind.PREDICTION}
    rows = []
    for one in spec.predictions:
        row = found.get(one.id)
        outcome = row.outcome if row else PredictionOutcome.UNRESOLVED
        rows.append(_prediction(one.id, one.text, one.credence, row, str(outcome), "request"))
    known = {one.id for one in spec.predictions}
    rows += [
        _prediction(name, row.gate.note, None, row, str(row.outcome), "preset")
        for name, row in found.items()
        if name not in known
    ]
    return rows


def _prediction(
    name: str, text: str, credence: str | None, judged: Judged | None, outcome: str, source: str
) -> dict[str, Any]:
    row = {"id": name, "text": text, "credence": credence, "outcome": outcome, "registered": source}
    return row | {"gate": gate_row(judged) if judged else None}


def _bind(
    material: Material, spec: Spec, seeds: dict[str, Any], view: View, derived: dict[str, Any]
) -> dict[str, Any]:
    facts, samples = material.facts, material.samples
    lines = [line for line in (samples or b"").split(b"\n") if line.strip()]
    record: dict[str, Any] = {"schema": SCHEMA, "id": facts.get("id", "")}
    record |= {key: dict(facts.get(key, {})) for key in _TABLES}
    record |= {key: list(facts.get(key, ())) for key in _LISTS}
    changed = facts.get("changed_paths")
    record |= {
        "changed_paths": None if changed is None else list(changed),
        "evaluator": evaluator(),
        "spec": {"digest": spec.digest, "document": canonical.thaw(spec.document)},
        "dims": {name: list(places) for name, places in spec.plan.places().items()},
        "digests": dict(view.digests),
        "seeds": seeds,
        "samples": None
        if samples is None
        else {
            "path": material.samples_path,
            "sha256": canonical.digest_bytes(samples),
            "rows": len(lines),
        },
        "baselines": {
            name: {
                "digest": material.base_digests.get(name) or canonical.digest(base),
                "record": reduce_base(base, spec.gates),
            }
            for name, base in material.bases.items()
        },
        "non_claims": facts.get("non_claims", ""),
        "conclusions": None,
    }
    record |= derived
    return record


def reduce_base(base: Mapping[str, Any], gates: tuple[Gate, ...]) -> dict[str, Any]:
    """The part of a baseline that the gates read, so that a record can be judged again alone."""
    names = {metric for gate in gates for metric in metrics_of(gate.rule)}
    kept = {key: base[key] for key in ("cases", "dims", "digests", "seeds") if key in base}
    metrics = [item for item in base.get("metrics", ()) if item.get("name") in names]
    return {**kept, "metrics": metrics}
