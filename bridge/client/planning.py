"""From a campaign as a person writes it to a frozen plan: every fault at its path, none sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bridge import canonical, schema, wire
from bridge.bus.pooling import spec_of
from bridge.cells import SEED, all_cells, cells_of, derive_request
from bridge.client.draft import Frame, read_params
from bridge.client.power import find_hopeless
from bridge.errors import KakeyaError, ManifestError
from bridge.plans import (
    MAX_CELLS,
    OPENING,
    Axis,
    Budget,
    Campaign,
    Edge,
    Node,
    PresetRef,
)
from evidence.spec import Spec, parse_spec
from presets.admission import check_request
from presets.binding import bind
from presets.catalog import Catalog
from presets.definition import Preset
from presets.strict_yaml import load

_REMEDY = (
    "docs/campaigns.md describes every key; kakeya_remote presets NAME shows params and bounds"
)


def read_campaign(data: bytes, *, where: str) -> dict[str, Any]:
    """A campaign's document from its YAML file, strictly.

    Raises:
        ManifestError: no strict YAML, or not the schema; each fault at its path.
    """
    document = load(data, where=where).value
    schema.check(document, schema.load("presets", "campaign"), where=where, remedy=_REMEDY)
    found: dict[str, Any] = document
    return found


def sweep_document(
    preset: str,
    params: Mapping[str, Any],
    matrix: Mapping[str, Sequence[Any]],
    seeds: int | Sequence[int] | None,
    **fields: Any,
) -> dict[str, Any]:
    """The document of a sweep: a campaign of one node, called `sweep`."""
    node: dict[str, Any] = {"preset": preset, "params": dict(params), "matrix": dict(matrix)}
    if seeds is not None:
        node["seeds"] = seeds
    told = {key: fields.pop(key, None) for key in ("labels", "priority", "executor")}
    node |= {key: value for key, value in told.items() if value not in (None, [])}
    kept = {key: value for key, value in fields.items() if value is not None}
    document = {"name": f"sweep-{preset}", "nodes": {"sweep": node}, **kept}
    where = f"sweep of {preset}"
    schema.check(document, schema.load("presets", "campaign"), where=where, remedy=_REMEDY)
    return document


def set_params(
    document: Mapping[str, Any], texts: Sequence[str], catalog: Catalog
) -> dict[str, Any]:
    """The document with params of `NAME=VALUE` texts in every node whose preset has them.

    Raises:
        ManifestError: a value does not fit, or no node has such a param.
    """
    nodes = {name: dict(data) for name, data in document["nodes"].items()}
    problems: list[str] = []
    for text in texts:
        param = text.partition("=")[0]
        having = [
            data
            for data in nodes.values()
            if param in catalog.get(data["preset"]).params and param not in data.get("matrix", {})
        ]
        if not having:
            problems.append(f"$.nodes: none of them has a param {param!r} of its own")
        for data in having:
            values, found = read_params(catalog.get(data["preset"]), [text])
            problems += found
            data["params"] = {**data.get("params", {}), **values}
    if problems:
        raise ManifestError(
            "the params do not fit",
            where=f"campaign {document['name']}",
            problems=tuple(dict.fromkeys(problems)),
        )
    return {**document, "nodes": nodes}


def freeze_plan(document: Mapping[str, Any], catalog: Catalog, frame: Frame) -> Campaign:
    """The plan that a document stands for.

    Raises:
        ManifestError: `problems` holds every fault at its path: unknown presets, params out of
            bounds, cycles, nodes that no verdict can reach, gates that cannot pass as planned.
    """
    problems: list[str] = []
    nodes = [
        node
        for name, data in document["nodes"].items()
        for node in _freeze_node(name, data, catalog, frame, problems)
    ]
    budget = document.get("budget", {})
    plan = Campaign(
        id=frame.id,
        bus=frame.bus,
        name=document["name"],
        code=frame.code,
        nodes=tuple(nodes),
        requested_by=frame.requested_by,
        requested_at=frame.requested_at,
        nonce=frame.nonce,
        budget=Budget(budget.get("jobs"), budget.get("hours")),
        parallel=document.get("parallel", 64),
        fresh=document.get("fresh", False),
        description=document.get("description", ""),
    )
    if not problems:
        problems += find_problems(plan, catalog)
    if problems:
        raise ManifestError(
            "no plan can be made of it",
            where=f"campaign {document['name']}",
            remedy=_REMEDY,
            problems=tuple(problems[:50]),
        )
    again: Campaign = wire.parse("campaign", wire.to_bytes(plan), where="campaign")
    return again


def _freeze_node(
    name: str, data: Mapping[str, Any], catalog: Catalog, frame: Frame, problems: list[str]
) -> Iterator[Node]:
    path = f"$.nodes.{name}"
    try:
        preset = catalog.get(data["preset"])
    except ManifestError as error:
        problems.append(f"{path}.preset: {error.message}")
        return
    axes = {str(key): tuple(values) for key, values in data.get("matrix", {}).items()}
    seeds = data.get("seeds")
    if seeds is not None:
        if SEED in axes:
            problems.append(f"{path}.seeds: {SEED} is an axis of the matrix too")
        axes[SEED] = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    given = data.get("params", {})
    params = _bind_cells(preset, given, axes, path, problems)
    labels = tuple(dict.fromkeys((*preset.labels, *frame.labels, *data.get("labels", ()))))
    yield Node(
        id=name,
        preset=PresetRef(preset.name, preset.digest),
        params=params,
        label=preset.labels[0],
        labels=labels,
        resources=preset.resources,
        axes=tuple(Axis(key, values) for key, values in axes.items()),
        gates=canonical.freeze(data.get("gates", [])),
        after=tuple(map(_freeze_edge, data.get("after", ()))),
        priority=data.get("priority", 5),
        max_attempts=data.get("max_attempts", 3),
        executor=data.get("executor"),
    )


def _freeze_edge(data: Any) -> Edge:
    if isinstance(data, str):
        return Edge(data)
    return Edge(data["node"], data.get("gate"), tuple(data.get("opens", OPENING)))


def _bind_cells(
    preset: Preset,
    given: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    path: str,
    problems: list[str],
) -> dict[str, Any]:
    """The params that every cell shares; each value of each axis is tried against the bounds."""
    found: list[str] = []
    for name in axes:
        if name in given:
            found.append(f"{path}.params.{name}: the matrix names it too")
        if name not in preset.params:
            what = "takes no seed" if name == SEED else f"has no param {name!r}"
            found.append(f"{path}.matrix.{name}: {preset.name} {what}")
    first = {name: values[0] for name, values in axes.items()}
    shared: dict[str, Any] = {}
    tries = [first, *({**first, name: value} for name in axes for value in axes[name][1:])]
    for values in tries if not found else ():
        try:
            shared = dict(bind(preset, {**given, **values}))
        except ManifestError as error:
            found += [f"{path}.{line.removeprefix('$.')}" for line in error.problems]
    problems += dict.fromkeys(found)
    return {name: value for name, value in shared.items() if name not in axes}


# -- the graph -------------------------------------------------------------------------------------


def find_problems(plan: Campaign, catalog: Catalog) -> list[str]:
    """What is wrong with a plan whose nodes are each in order."""
    problems = [*_graph_problems(plan), *_size_problems(plan)]
    if problems:
        return problems
    specs: dict[str, Spec] = {}
    for node in plan.nodes:
        path = f"$.nodes.{node.id}"
        preset = catalog.get(node.preset.name)
        cell = next(cells_of(node))
        found = check_request(derive_request(plan, cell), preset)
        problems += [f"{path}: {line}" for line in found]
        try:
            specs[node.id] = parse_spec(spec_of(node, preset))
        except KakeyaError as error:
            told = error.problems or (error.message,)
            problems += [f"{path}: as a sweep, {line}" for line in told]
    return problems or [*_gate_problems(plan, specs)]


def _size_problems(plan: Campaign) -> Iterator[str]:
    count = 0
    for node in plan.nodes:
        cells = 1
        for axis in node.axes:
            cells *= len(axis.values)
        count += cells
    if count > MAX_CELLS:
        yield f"$.nodes: {count} cells, at most {MAX_CELLS} are taken"


def _graph_problems(plan: Campaign) -> Iterator[str]:
    names = {node.id for node in plan.nodes}
    for node in plan.nodes:
        for index, edge in enumerate(node.after):
            if edge.node not in names:
                yield f"$.nodes.{node.id}.after[{index}]: there is no node {edge.node!r}"
    before = {node.id: {edge.node for edge in node.after} & names for node in plan.nodes}
    done: set[str] = set()
    while ready := {name for name in names - done if before[name] <= done}:
        done |= ready
    if circle := sorted(names - done):
        yield f"$.nodes: {', '.join(circle)} wait for one another in a circle"


def _gate_problems(plan: Campaign, specs: Mapping[str, Spec]) -> Iterator[str]:
    hopeless = {node.id: find_hopeless(specs[node.id]) for node in plan.nodes}
    for node in plan.nodes:
        for gate in specs[node.id].gates:
            why = hopeless[node.id].get(gate.id)
            if why and gate.blocking:
                yield f"$.nodes.{node.id}: the gate {gate.id} can never pass as planned: {why}"
    for node in plan.nodes:
        for index, edge in enumerate(node.after):
            yield from (
                f"$.nodes.{node.id}.after[{index}]: {why}"
                for why in _edge_problems(edge, specs[edge.node], hopeless[edge.node])
            )
        yield from _contradictions(node)


def _edge_problems(edge: Edge, spec: Spec, hopeless: Mapping[str, str]) -> Iterator[str]:
    names = {gate.id for gate in spec.gates}
    names |= {item.id for item in spec.predictions if item.gate is not None}
    if edge.gate is None:
        return
    if edge.gate not in names:
        known = ", ".join(sorted(names))
        yield f"the record of {edge.node} has no gate {edge.gate!r}, only {known}"
    elif edge.gate in hopeless and set(edge.opens) == {"pass"}:
        yield f"the gate {edge.gate} can never pass as planned: {hopeless[edge.gate]}"


def _contradictions(node: Node) -> Iterator[str]:
    """Edges of one node that no verdict opens together: the node could never be reached."""
    for index, one in enumerate(node.after):
        for other in node.after[index + 1 :]:
            same = (one.node, one.gate) == (other.node, other.gate)
            if same and not set(one.opens) & set(other.opens):
                yield (
                    f"$.nodes.{node.id}.after: never reached: {one.node} cannot come to "
                    f"{' or '.join(one.opens)} and to {' or '.join(other.opens)} at once"
                )


def count_cells(plan: Campaign) -> int:
    """How many cells a plan has."""
    return len(all_cells(plan))
