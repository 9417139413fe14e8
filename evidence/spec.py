"""What a preset plans to measure and judge: metrics, plan, gates, predictions, plots."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bridge import canonical
from bridge.errors import ManifestError
from evidence.gates.parse import parse_each
from evidence.gates.rules import NAME
from evidence.gates.shape import Reader
from evidence.gates.syntax import AllOf, AnyOf, Each, Gate, Not, Rule
from evidence.plot_spec import PlotSpec, parse_plots
from evidence.reducers import ALIASES, REDUCERS

REDUCER_NAMES = ("proportion", *sorted({*REDUCERS, *ALIASES}))
BETTER = ("higher", "lower", "none")
_PARAM = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}", re.ASCII)
_METRIC_KEYS = {
    "name", "reducer", "measure", "by", "where", "unit", "better", "cluster", "conf", "doc",
}  # fmt: skip
_PLAN_KEYS = {"seeds", "n", "arms", "dims"}
_SPEC_KEYS = {"metrics", "gates", "plots", "plan", "predictions", "params"}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """How one metric is reduced from samples.

    Attributes:
        name: its name in gates and reports.
        reducer: "proportion" (scores of 0 and 1) or a name of `evidence.reducers.REDUCERS`.
        measure: the samples' measure it reads.
        by: what tells its groups apart: "arm", "seed" or dimensions.
        where: dimension to place; rows that lie elsewhere do not count in this metric.
        unit: unit of measurement, "1" for a share.
        better: whether higher or lower is better, or neither.
        cluster: rows that share this ("seed", "unit", "input" or a dimension) depend on one
            another and are resampled together.
        conf: confidence of the metric's own interval.
    """

    name: str
    reducer: str
    measure: str
    by: tuple[str, ...] = ("arm",)
    where: Mapping[str, str] = field(default_factory=dict)
    unit: str = "1"
    better: str = "higher"
    cluster: str | None = None
    conf: float = 0.95
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was planned before the run.

    Attributes:
        seeds: the seeds, as text.
        n: samples in each cell of arms x dims x seeds, None where it was left open.
        arms: the arms.
        dims: the places of every dimension.
    """

    seeds: tuple[str, ...] = ()
    n: int | None = None
    arms: tuple[str, ...] = ()
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def places(self) -> dict[str, tuple[str, ...]]:
        """The dimensions that `each` may go over, with "seed" and "arm"."""
        found = dict(self.dims)
        if self.seeds:
            found.setdefault("seed", self.seeds)
        if self.arms:
            found.setdefault("arm", self.arms)
        return found


@dataclass(frozen=True, slots=True)
class PredictionSpec:
    """A prediction registered in the request; `gate` is None where a person resolves it."""

    id: str
    text: str
    credence: str | None
    gate: Gate | None


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that was fixed before the run; `document` is what it was read from."""

    metrics: tuple[MetricSpec, ...]
    gates: tuple[Gate, ...]
    plots: tuple[PlotSpec, ...]
    plan: Plan
    predictions: tuple[PredictionSpec, ...]
    document: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the document."""
        return canonical.digest(canonical.thaw(self.document))


def parse_spec(document: object, *, where: str = "spec") -> Spec:
    """A spec from a preset's JSON data: keys metrics, gates, plots, plan, predictions, params.

    A plan may name the preset's params as whole tokens ("{samples}"); they are filled in from
    `params` and stay open where it has none (as when a preset is loaded).

    Raises:
        ManifestError: `problems` names every fault at its path.
    """
    reader = Reader()
    data = reader.mapping(document, "$", _SPEC_KEYS) or {}
    params = data.get("params") or {}
    metrics = _parse_metrics(data.get("metrics") or (), reader)
    plan = _parse_plan(data.get("plan") or {}, params, reader)
    gates, bad = parse_each(data.get("gates") or ())
    reader.problems += [_move(one, "gates") for _, found in bad for one in found]
    drawn = _items(data.get("plots") or (), "$.plots", reader)
    plots = parse_plots(drawn, {metric.name for metric in metrics}, reader)
    predictions = _parse_predictions(data.get("predictions") or (), reader)
    _check_dimensions(gates, plan, reader)
    if reader.problems:
        raise ManifestError(
            "metrics, plan, gates or plots are wrong", where=where, problems=tuple(reader.problems)
        )
    return Spec(metrics, gates, plots, plan, predictions, cast("Mapping[str, Any]", document))


def _move(problem: str, key: str) -> str:
    return f"$.{key}{problem[1:]}" if problem.startswith("$") else f"$.{key}: {problem}"


def _items(value: object, path: str, reader: Reader) -> Sequence[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    reader.complain(path, "a list is wanted")
    return ()


def _parse_metrics(value: object, reader: Reader) -> tuple[MetricSpec, ...]:
    found: list[MetricSpec] = []
    for index, item in enumerate(_items(value, "$.metrics", reader)):
        path = f"$.metrics[{index}]"
        data = reader.mapping(item, path, _METRIC_KEYS, required=("name", "reducer"))
        if data is None:
            continue
        name = reader.text(data.get("name"), f"{path}.name", NAME) or ""
        reducer = reader.choice(data.get("reducer"), f"{path}.reducer", REDUCER_NAMES) or "mean"
        conf = reader.decimal(data.get("conf", "0.95"), f"{path}.conf")
        if any(name == other.name for other in found):
            reader.complain(f"{path}.name", f"a second metric {name!r}")
        cluster = data.get("cluster")
        found.append(
            MetricSpec(
                name=name,
                reducer=ALIASES.get(reducer, reducer),
                measure=reader.text(data.get("measure", name), f"{path}.measure", NAME) or "",
                by=reader.texts(data.get("by", ("arm",)), f"{path}.by", NAME),
                where=_parse_where(data.get("where") or {}, f"{path}.where", reader),
                unit=reader.text(data.get("unit", "1"), f"{path}.unit") or "1",
                better=reader.choice(data.get("better", "higher"), f"{path}.better", BETTER) or "",
                cluster=None if cluster is None else reader.text(cluster, f"{path}.cluster", NAME),
                conf=float(conf) if conf is not None and 0 < conf < 1 else 0.95,
                doc=reader.text(data.get("doc", ""), f"{path}.doc") or "",
            )
        )
    return tuple(found)


def _parse_where(value: object, path: str, reader: Reader) -> dict[str, str]:
    data = reader.mapping(value, path, value if isinstance(value, Mapping) else {}) or {}
    places = {name: reader.coordinate(place, f"{path}.{name}") for name, place in data.items()}
    return {name: place for name, place in places.items() if place is not None}


def _parse_plan(value: object, params: Mapping[str, Any], reader: Reader) -> Plan:
    data = reader.mapping(value, "$.plan", _PLAN_KEYS) or {}
    dims = reader.mapping(data.get("dims", {}), "$.plan.dims", data.get("dims", {})) or {}
    count = _fill(data.get("n"), params)
    return Plan(
        seeds=_places(data.get("seeds", ()), "$.plan.seeds", params, reader),
        n=None if count is None else reader.whole(count, "$.plan.n"),
        arms=_places(data.get("arms", ()), "$.plan.arms", params, reader),
        dims={
            str(name): _places(places, f"$.plan.dims.{name}", params, reader)
            for name, places in dims.items()
        },
    )


def _fill(value: Any, params: Mapping[str, Any]) -> Any:
    match = _PARAM.fullmatch(value) if isinstance(value, str) else None
    return params.get(match.group(1)) if match else value


def _places(value: object, path: str, params: Mapping[str, Any], reader: Reader) -> tuple[str, ...]:
    found = []
    for index, item in enumerate(_items(value, path, reader)):
        filled = _fill(item, params)
        if filled is None and item is not None:
            continue  # an open param
        place = reader.coordinate(filled, f"{path}[{index}]")
        if place is not None:
            found.append(place)
    if len(set(found)) < len(found):
        reader.complain(path, "a place stands twice")
    return tuple(found)


def _parse_predictions(value: object, reader: Reader) -> tuple[PredictionSpec, ...]:
    found = []
    for index, item in enumerate(_items(value, "$.predictions", reader)):
        path = f"$.predictions[{index}]"
        data = reader.mapping(
            item, path, {"id", "text", "credence", "rule", "decide"}, required=("id", "text")
        )
        if data is None:
            continue
        credence = data.get("credence")
        share = None if credence is None else reader.decimal(credence, f"{path}.credence")
        if share is not None and not 0 <= share <= 1:
            reader.complain(f"{path}.credence", 'a credence between "0" and "1" is wanted')
        gate = None
        if data.get("rule") is not None:
            document = {"id": data.get("id"), "rule": data["rule"], "kind": "prediction"}
            if "decide" in data:
                document["decide"] = data["decide"]
            gates, bad = parse_each([document])
            reader.problems += [
                f"{path}{one.removeprefix('$[0]')}" for _, problems in bad for one in problems
            ]
            gate = gates[0] if gates else None
        name = reader.text(data.get("id"), f"{path}.id", NAME) or ""
        text = reader.text(data.get("text"), f"{path}.text") or ""
        found.append(PredictionSpec(name, text, None if credence is None else str(credence), gate))
    names = [one.id for one in found]
    if len(set(names)) < len(names):
        reader.complain("$.predictions", "an id stands twice")
    return tuple(found)


def _check_dimensions(gates: Sequence[Gate], plan: Plan, reader: Reader) -> None:
    for gate in gates:
        for name in sorted(_dimensions(gate.rule) - set(plan.places())):
            reader.complain(
                f"$.gates.{gate.id}", f"goes over {name!r}, of which the plan names no places"
            )


def _dimensions(rule: Rule) -> set[str]:
    if isinstance(rule, Each):
        return {rule.dimension} | _dimensions(rule.rule)
    if isinstance(rule, (AllOf, AnyOf)):
        return {name for inner in rule.rules for name in _dimensions(inner)}
    return _dimensions(rule.rule) if isinstance(rule, Not) else set()
