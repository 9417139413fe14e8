"""Gates from JSON data, strictly: unknown keys, bad types and unbounded trees are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

from bridge import canonical
from bridge.errors import ManifestError
from evidence.gates.rules import parse_rule
from evidence.gates.shape import Reader
from evidence.gates.syntax import Decide, Gate, Kind
from evidence.gates.verdicts import PredictionOutcome, Verdict

MAX_GATES = 500
METHODS = (
    "auto",
    "wilson",
    "exact",
    "newcombe",
    "mcnemar",
    "bootstrap",
    "paired-bootstrap",
    "cluster-bootstrap",
)
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # would not show in a report
_ID = re.compile(rf"\w[^{_UNSEEN}]{{0,99}}")
_KEYS = {"id", "rule", "decide", "needs", "blocking", "kind", "tags", "note", "expect"}
_EXPECTED = {*(verdict.value for verdict in Verdict), *(item.value for item in PredictionOutcome)}


def parse_gates(data: object, *, where: str = "gates") -> tuple[Gate, ...]:
    """Gates from a JSON list.

    Raises:
        ManifestError: `problems` names every fault of every gate at its path.
    """
    good, bad = parse_each(data)
    if bad:
        problems = tuple(problem for _, found in bad for problem in found)
        raise ManifestError("not a list of gates", where=where, problems=problems[:50])
    return good


def parse_each(data: object) -> tuple[tuple[Gate, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """The gates that can be read, and (id, problems) of those that cannot."""
    if not isinstance(data, Sequence) or isinstance(data, str):
        return (), (("$", ("$: a list of gates is wanted",)),)
    if len(data) > MAX_GATES:
        return (), (("$", (f"$: {len(data)} gates, at most {MAX_GATES} are taken",)),)
    good: list[Gate] = []
    bad: list[tuple[str, tuple[str, ...]]] = []
    seen: set[str] = set()
    for index, item in enumerate(data):
        path = f"$[{index}]"
        reader = Reader()
        gate = _parse_gate(item, path, reader)
        name = gate.id if gate else _name_of(item, path)
        if name in seen:
            reader.complain(f"{path}.id", f"a second gate {name!r}")
        seen.add(name)
        if gate is None or reader.problems:
            bad.append((name, tuple(reader.problems)))
        else:
            good.append(gate)
    return _check_needs(good, bad, data)


def _name_of(item: object, path: str) -> str:
    name = item.get("id") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) else path


def _parse_gate(item: object, path: str, reader: Reader) -> Gate | None:
    data = reader.mapping(item, path, _KEYS, required=("id", "rule"))
    if data is None:
        return None
    name = reader.text(data.get("id"), f"{path}.id", _ID)
    kind = reader.choice(data.get("kind", "gate"), f"{path}.kind", [item.value for item in Kind])
    blocking = reader.flag(data.get("blocking", kind != "prediction"), f"{path}.blocking")
    if kind == "prediction" and blocking:
        reader.complain(f"{path}.blocking", "a prediction never blocks")
    needs = reader.texts(data.get("needs", ()), f"{path}.needs", _ID)
    tags = reader.texts(data.get("tags", ()), f"{path}.tags", _ID)
    note = reader.text(data.get("note", ""), f"{path}.note")
    expect = data.get("expect")
    if expect is not None and expect not in _EXPECTED:
        reader.complain(f"{path}.expect", f"one of {', '.join(sorted(_EXPECTED))} is wanted")
    decide = _parse_decide(data.get("decide", {}), f"{path}.decide", reader)
    rule = parse_rule(data.get("rule"), f"{path}.rule", reader) if "rule" in data else None
    if reader.problems or rule is None or name is None or kind is None or decide is None:
        return None
    document = {"rule": canonical.thaw(data["rule"]), "decide": _decide_document(decide)}
    frozen = {"id": name, **document, "needs": list(needs), "blocking": blocking, "kind": kind}
    return Gate(
        id=name,
        rule=rule,
        digest=canonical.digest(frozen),
        decide=decide,
        needs=needs,
        blocking=bool(blocking),
        kind=Kind.CONTROL if kind == "gate" and "control" in tags else Kind(kind),
        tags=tags,
        note=note or "",
        expect=cast("str | None", expect),
        document=document,
    )


def _parse_decide(item: object, path: str, reader: Reader) -> Decide | None:
    data = reader.mapping(item, path, {"by", "conf", "method"})
    if data is None:
        return None
    by = reader.choice(data.get("by", "point"), f"{path}.by", ["point", "ci"])
    method = reader.choice(data.get("method", "auto"), f"{path}.method", METHODS)
    conf = reader.decimal(data.get("conf", "0.95"), f"{path}.conf")
    if conf is not None and not Fraction(1, 2) < conf < 1:
        reader.complain(f"{path}.conf", 'a confidence between "0.5" and "1" is wanted')
    if by is None or method is None or conf is None:
        return None
    return Decide(cast("Any", by), conf, method)


def _decide_document(decide: Decide) -> dict[str, str]:
    from evidence.numbers import format_value

    return {"by": decide.by, "conf": format_value(decide.conf), "method": decide.method}


def _check_needs(
    good: list[Gate], bad: list[tuple[str, tuple[str, ...]]], data: Sequence[Any]
) -> tuple[tuple[Gate, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    kinds = {gate.id: gate.kind for gate in good} | dict.fromkeys((name for name, _ in bad), None)
    order = {_name_of(item, ""): f"$[{index}]" for index, item in enumerate(data)}
    cyclic = _in_cycles(good)
    kept: list[Gate] = []
    for gate in good:
        path = f"{order[gate.id]}.needs"
        problems = [f"{path}: no gate {name!r}" for name in gate.needs if name not in kinds]
        problems += [
            f"{path}: {name!r} is a prediction, and predictions are never mixed with gates"
            for name in gate.needs
            if kinds.get(name) is Kind.PREDICTION and gate.kind is not Kind.PREDICTION
        ]
        if gate.id in cyclic:
            problems.append(f"{path}: needs itself in a circle")
        if problems:
            bad.append((gate.id, tuple(problems)))
        else:
            kept.append(gate)
    return tuple(kept), tuple(bad)


def _in_cycles(gates: Sequence[Gate]) -> set[str]:
    needs = {gate.id: gate.needs for gate in gates}
    found = set()
    for start in needs:
        reached: set[str] = set()
        queue = list(needs[start])
        while queue:
            name = queue.pop()
            if name not in reached:
                reached.add(name)
                queue.extend(needs.get(name, ()))
        if start in reached:
            found.add(start)
    return found
