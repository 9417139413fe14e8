"""One record of many runs: a preset's spec over a sweep's axes, its children's samples. Pure.

The spec of a sweep follows from the preset's and the plan alone, so that it is fixed before the
first child runs. Every metric is told apart by the axes, every gate that reads metrics must hold at
each of their places, and one more gate names the cells that are missing. Seeds are no axis: they
are pooled, as inside one run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge import canonical
from evidence.measuring import select
from evidence.samples import read_samples
from evidence.spec import parse_spec

COVER = "every-cell"
"""The gate that names what is missing."""
_PARAM = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}", re.ASCII)
_ROW_READERS = frozenset({"cmp", "within", "trend", "each", "all", "any", "not"})


@dataclass(frozen=True, slots=True)
class Axes:
    """What a sweep goes over.

    Attributes:
        places: the values of each axis, spelled as coordinates.
        seeds: the values of the axis of seeds; empty where there is none.
        cells: name of every planned cell.
    """

    places: Mapping[str, tuple[str, ...]]
    seeds: tuple[str, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one cell.

    Attributes:
        at: its place on each axis, without the seed.
        record: its evidence, found sound; None where it has none that counts.
        why: why it does not count, "" where it does.
        row: what the record's list of attempts says of it.
    """

    cell: str
    at: Mapping[str, str]
    record: Mapping[str, Any] | None = None
    samples: bytes = b""
    why: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


def widen_spec(
    document: Mapping[str, Any], axes: Axes, gates: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The spec of a sweep.

    Args:
        document: the preset's spec, with the params that every cell shares.
        axes: what the sweep goes over.
        gates: further gates on the whole; they block nothing unless they say so.
    """
    plan = _widen_plan(document.get("plan") or {}, axes)
    metrics = [dict(metric) for metric in document.get("metrics", ())]
    told = {name for metric in metrics for name in metric.get("by", ())}
    told |= set((document.get("plan") or {}).get("dims", {}))  # the preset tells these apart itself
    fresh = [name for name in axes.places if name not in told]
    for metric in metrics:
        metric["by"] = [*metric.get("by", ["arm"]), *fresh]
    own = [
        {**gate, "rule": _wrap(gate["rule"], fresh)}
        for gate in map(canonical.thaw, document.get("gates", ()))
    ]
    further = [{"blocking": False, **canonical.thaw(gate)} for gate in gates]
    cover = {
        "id": COVER,
        "rule": {"cover": {"cells": list(axes.cells)}},
        "note": "every planned cell ran, and its record follows from its samples",
    }
    return {
        "metrics": metrics,
        "gates": [*own, *further, cover],
        "plots": [*document.get("plots", ()), *_heatmaps(metrics, own, fresh)],
        "plan": plan,
        "params": dict(document.get("params", {})),
        "predictions": list(document.get("predictions", ())),
    }


def _widen_plan(plan: Mapping[str, Any], axes: Axes) -> dict[str, Any]:
    moving = dict(axes.places) | ({"seed": axes.seeds} if axes.seeds else {})

    def spread(values: Sequence[Any]) -> list[Any]:
        found: list[Any] = []
        for value in values:
            match = _PARAM.fullmatch(value) if isinstance(value, str) else None
            found += moving[match[1]] if match and match[1] in moving else [value]
        return list(dict.fromkeys(found))

    dims = {name: spread(places) for name, places in plan.get("dims", {}).items()}
    for name, places in axes.places.items():
        inner = [str(place) for place in dims.get(name, ())]
        dims[name] = list(dict.fromkeys([*inner, *places]))
    wide: dict[str, Any] = {"dims": dims, "arms": spread(plan.get("arms", ()))}
    wide["seeds"] = list(axes.seeds) or list(plan.get("seeds", ()))
    count = plan.get("n")
    match = _PARAM.fullmatch(count) if isinstance(count, str) else None
    if count is not None and not (match and match[1] in moving):
        wide["n"] = count
    return wide


def _wrap(rule: Any, axes: Sequence[str]) -> Any:
    if not axes or not _ROW_READERS & rule.keys():
        return rule
    for name in reversed(axes):
        rule = {"each": name, "rule": rule}
    return rule


def _heatmaps(
    metrics: Sequence[Mapping[str, Any]], gates: Sequence[Any], axes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The first metric that a gate reads over the first two axes; else along the only one."""
    text = canonical.encode([gate["rule"] for gate in gates]).decode()
    gated = [metric["name"] for metric in metrics if f'"m":"{metric["name"]}"' in text]
    name = next(iter([*gated, *(metric["name"] for metric in metrics)]), None)
    if name is None or not axes:
        return
    if len(axes) == 1:
        yield {"kind": "ladder", "metric": name, "x": axes[0]}
    else:
        yield {"kind": "heatmap", "metric": name, "x": axes[0], "y": axes[1]}
    yield {"kind": "dots", "metric": name}


def pool_samples(parts: Sequence[Part]) -> bytes:
    """The rows of every part, each with its place on the axes.

    Rows of a warm-up, and those that a warm-up had seen, stay with the part that they belong to.
    """
    lines: list[bytes] = []
    for part in parts:
        if part.record is None:
            continue
        plan = parse_spec(part.record["spec"]["document"]).plan
        found = select(read_samples(part.samples, where=part.cell), plan)
        kept = {row.line for row in (*found.counted, *found.unplanned)}
        for number, line in enumerate(part.samples.split(b"\n"), start=1):
            if number in kept:
                row = canonical.decode(line)
                row["at"] = {**part.at, **row.get("at", {})}
                lines.append(canonical.encode(row))
    return b"".join(line + b"\n" for line in lines)


def cover_of(cells: Sequence[str], parts: Sequence[Part]) -> dict[str, list[str]]:
    """Which cells were planned, which count (`cells`, as gates call them), and which do not."""
    ran = [part.cell for part in parts if part.record is not None]
    missing = [cell for cell in cells if cell not in set(ran)]
    return {"cells": ran, "planned": list(cells), "missing": missing}


def pool_facts(parts: Sequence[Part]) -> dict[str, Any]:
    """What the facts of the parts have in common, and what each of them came to."""
    records = [part.record for part in parts if part.record is not None]
    hardware = _common([record["hardware"] for record in records])
    if not hardware and records:
        prints = sorted({str(record["hardware"].get("fingerprint")) for record in records})
        hardware = {"fingerprint": canonical.digest(prints), "several": prints}
    runners = sorted({str(record["runner"].get("name")) for record in records})
    code = _common([_code(record) for record in records])
    return {
        "inputs": _common([{"inputs": list(record["inputs"])} for record in records]).get(
            "inputs", []
        ),
        "code": code,
        "hardware": {key: value for key, value in hardware.items() if key != "load"},
        "runner": {"name": ", ".join(runners), "names": runners},
        "attempts": [
            {"n": number, "cell": part.cell, "why": part.why, **part.row}
            for number, part in enumerate(parts, start=1)
        ],
        "timings": _span([record["timings"] for record in records]),
        "env": _common([dict(record["env"]) for record in records]),
    }


def hours_of(record: Mapping[str, Any]) -> float:
    """Hours that a run took, by its own record."""
    seconds = str(record["execution"].get("duration_s", "0"))
    try:
        return max(0.0, float(seconds)) / 3600
    except ValueError:
        return 0.0


def _code(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("commit", "tree", "dirty", "differing", "foreign", "lfs_pointers", "hidden_index")
    return {key: record["code"][key] for key in kept if key in record["code"]}


def _common(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that every table has alike."""
    if not tables:
        return {}
    first, *rest = tables
    return {
        key: value for key, value in first.items() if all(other.get(key) == value for other in rest)
    }


def _span(timings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, choose in (("queued", min), ("claimed", min), ("started", min), ("finished", max)):
        marks = [str(one[name]) for one in timings if one.get(name)]
        if marks:
            found[name] = choose(marks)
    return found


# -- the record of a campaign ----------------------------------------------------------------------


def campaign_spec(nodes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The spec of a campaign's own record, fixed by its plan.

    Args:
        nodes: the paths of the cells of each node.

    A node holds if all of its cells ran and its record passes, or if a decision gate closed it.
    """
    gates: list[dict[str, Any]] = []
    for node, cells in nodes.items():
        closed = {"cmp": [{"m": "closed", "arm": node}, "==", "1"]}
        passed = {"cmp": [{"m": "passed", "arm": node}, "==", "1"]}
        covered = {"cover": {"cells": list(cells)}}
        gates.append({"id": f"{node}-ran", "rule": {"any": [covered, closed]}})
        gates.append({"id": f"{node}-passes", "rule": {"any": [passed, closed]}})
    docs = {
        "ran": "cells that ran and whose records follow from their samples",
        "passed": "whether the node's own record passes",
        "closed": "whether a decision gate closed the way to the node",
    }
    reducers = {"ran": "proportion", "passed": "max", "closed": "max"}
    metrics = [{"name": name, "reducer": reducers[name], "doc": doc} for name, doc in docs.items()]
    return {"metrics": metrics, "gates": gates, "plan": {"arms": list(nodes)}, "plots": []}


def campaign_samples(
    cells: Mapping[str, Mapping[str, str]],
    verdicts: Mapping[str, str | None],
) -> bytes:
    """The samples of a campaign's own record.

    Args:
        cells: for each node, why each of its cells does not count, "" where it does.
        verdicts: of each node's record; None where a decision gate closed the way to it.
    """
    rows = []
    for node, found in cells.items():
        verdict = verdicts[node]
        rows += [
            _row(node, cell, "ran", None if why else 1, why or None) for cell, why in found.items()
        ]
        rows.append(_row(node, node, "closed", int(verdict is None), None))
        if verdict is not None:
            score = {"pass": 1, "fail": 0}.get(verdict)
            rows.append(_row(node, node, "passed", score, None if score is not None else verdict))
    return b"".join(canonical.encode(row) + b"\n" for row in rows)


def _row(
    node: str, unit: str, measure: str, score: int | None, error: str | None
) -> dict[str, Any]:
    return {
        "arm": node,
        "seed": 0,
        "unit": unit[:200],
        "input": canonical.digest([node, unit]),
        "measure": measure,
        "score": score,
        "at": {},
        "error": None if error is None else error[:500],
        "warmup": False,
        "t_ms": None,
    }
