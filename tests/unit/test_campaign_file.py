"""A campaign's file: what is refused before anything is sent, and the spec that its nodes get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.bus.pooling import axes_of, spec_of
from bridge.cells import all_cells
from bridge.client.draft import Frame
from bridge.client.planning import freeze_plan, read_campaign, sweep_document
from bridge.errors import ManifestError
from bridge.plans import Campaign
from evidence.spec import parse_spec
from evidence.sweep import COVER, Part, cover_of, pool_samples
from presets.catalog import Catalog, load_catalog, parse_catalog
from tests import samples

ROOT = Path(__file__).parents[2]
CATALOG = load_catalog(ROOT / "presets")


def frame() -> Frame:
    return Frame(
        samples.make_id(), samples.make_id(), samples.NOBODY, (), "alice",
        "2026-01-02T03:04:05Z", samples.make_nonce(),
    )  # fmt: skip


def document() -> dict[str, Any]:
    gate = {"id": "slow", "rule": {"cmp": [{"m": "slept_s", "arm": "noop"}, ">", "1"]}}
    return {
        "name": "two-steps",
        "nodes": {
            "a": {"preset": "noop-sweep", "matrix": {"seconds": [0, 1]}, "seeds": 2},
            "b": {"preset": "noop-sweep", "gates": [gate], "after": ["a"]},
            "c": {"preset": "noop-sweep", "after": [{"node": "b", "gate": "slow"}]},
        },
    }


def freeze(value: dict[str, Any], catalog: Catalog = CATALOG) -> Campaign:
    return freeze_plan(value, catalog, frame())


def test_a_file_becomes_a_plan() -> None:
    read = read_campaign(yaml.safe_dump(document()).encode(), where="c.yaml")
    plan = freeze(read)
    assert [len([c for c in all_cells(plan) if c.node == n]) for n in "abc"] == [4, 1, 1]
    assert plan.node("a").params == {"exit_code": 0}
    assert plan.node("c").after[0].opens == ("pass",)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(found: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        place: Any = found["nodes"]
        for part in parts:
            place = place[part]
        place[last] = value

    return apply


CI_SHARE = {
    "id": "never",
    "blocking": True,
    "rule": {"cmp": [{"m": "slept_s", "arm": "noop"}, ">=", "0.9"]},
    "decide": {"by": "ci"},
}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (change("a.preset", "no-such"), "$.nodes.a.preset: "),
        (change("a.params", {"seconds": 1}), "$.nodes.a.params.seconds: the matrix names it too"),
        (change("a.matrix", {"speed": [1]}), "$.nodes.a.matrix.speed: noop-sweep has no param"),
        (change("a.matrix", {"seconds": [0, -1]}), "$.nodes.a.params.seconds: "),
        (change("a.matrix", {"seed": [1]}), "$.nodes.a.seeds: seed is an axis of the matrix too"),
        (change("b.after", ["nobody"]), "$.nodes.b.after[0]: there is no node 'nobody'"),
        (change("a.after", ["c"]), "$.nodes: a, b, c wait for one another in a circle"),
        (change("a.after", ["a"]), "$.nodes: a, b, c wait for one another in a circle"),
        (
            change("c.after", [{"node": "b", "gate": "quick"}]),
            "$.nodes.c.after[0]: the record of b has no gate 'quick'",
        ),
        (
            change(
                "c.after",
                [{"node": "b", "gate": "slow"}, {"node": "b", "gate": "slow", "opens": ["fail"]}],
            ),
            "$.nodes.c.after: never reached: b cannot come to pass and to fail at once",
        ),
        (change("a.executor", "actions"), "$.nodes.a: $.executor: noop-sweep allows no 'actions'"),
        (change("a.matrix", {"seconds": list(range(1001))[:1000]}), None),
        (change("b.gates", [CI_SHARE]), "$.nodes.b: the gate never can never pass as planned: "),
        (
            change("b.gates", [{"id": "x", "rule": {"cmp": ["1", ">"]}}]),
            "$.nodes.b: as a sweep, ",
        ),
    ],
)
def test_what_is_wrong_is_named_at_its_path(
    spoil: Callable[[dict[str, Any]], None], told: str | None
) -> None:
    found = document()
    spoil(found)
    if told is None:
        found["nodes"]["a"]["seeds"] = 3  # 3,000 cells
        told = "$.nodes: 3002 cells, at most 2000 are taken"
    with pytest.raises(ManifestError) as caught:
        freeze(found)
    assert any(line.startswith(told) for line in caught.value.problems), caught.value.problems


def test_a_gate_that_more_seeds_could_decide_is_refused_until_there_are_enough() -> None:
    found = document()
    found["nodes"]["b"]["gates"] = [CI_SHARE]
    found["nodes"]["c"]["after"] = ["b"]
    with pytest.raises(ManifestError) as caught:
        freeze(found)
    assert "samples are needed" in caught.value.problems[0]
    found["nodes"]["b"]["seeds"] = 60
    assert freeze(found)


def test_a_preset_without_a_seed_takes_none() -> None:
    with pytest.raises(ManifestError) as caught:
        freeze(sweep_document("noop", {}, {}, 3))
    assert caught.value.problems == ("$.nodes.sweep.matrix.seed: noop takes no seed",)


def test_an_unknown_key_is_refused_by_the_schema() -> None:
    with pytest.raises(ManifestError) as caught:
        read_campaign(b"name: x\nnodes: {a: {preset: noop, shell: rm}}\n", where="c.yaml")
    assert any("shell" in line for line in caught.value.problems)


# -- the spec of a sweep ---------------------------------------------------------------------------


def test_the_spec_of_a_sweep_is_told_apart_by_its_axes() -> None:
    plan = freeze(document())
    node = plan.node("a")
    spec = parse_spec(spec_of(node, CATALOG.get("noop-sweep")))
    assert spec.plan.dims == {"seconds": ("0", "1")}
    assert spec.plan.seeds == ("0", "1")
    assert all("seconds" in metric.by for metric in spec.metrics)
    gates = {gate.id: gate for gate in spec.gates}
    assert gates["wrote-its-sample"].document["rule"]["each"] == "seconds"
    assert gates[COVER].document["rule"] == {"cover": {"cells": list(axes_of(node).cells)}}
    assert gates[COVER].blocking


INNER = """
name: inner
description: tells rates apart itself
argv: ["{python}", -m, workloads, noop, --job, "{job}"]
config: {seconds: "{rate}", n: "{count}"}
params:
  rate: {kind: number, min: 0, max: 1, default: 0.5, doc: rate}
  count: {kind: int, min: 1, max: 9, default: 1, doc: count}
labels: [any]
resources: {cpus: 1, memory_mb: 128}
limits: {wall_s: 10, memory_mb: 512, output_mb: 4, disk_mb: 64}
executors: [local]
plan: {arms: [x], n: "{count}", dims: {rate: ["{rate}"]}}
metrics: [{name: gain, reducer: mean, by: [arm, rate]}]
gates:
  - id: low-above-high
    rule:
      cmp: [{m: gain, arm: x, at: {rate: 0.1}}, ">", {m: gain, arm: x, at: {rate: 0.2}}]
"""


def test_what_the_preset_tells_apart_itself_is_judged_over_all_cells() -> None:
    catalog = parse_catalog({"inner.yaml": INNER.encode()})
    found = sweep_document("inner", {}, {"rate": [0.1, 0.2], "count": [1, 2]}, None)
    plan = freeze(found, catalog)
    spec = parse_spec(spec_of(plan.nodes[0], catalog.get("inner")))
    assert spec.plan.dims == {"rate": ("0.1", "0.2"), "count": ("1", "2")}
    assert spec.plan.n is None  # it varies from cell to cell
    rule = next(gate for gate in spec.gates if gate.id == "low-above-high").document["rule"]
    assert rule["each"] == "count"
    assert "each" not in rule["rule"]


def test_a_part_that_does_not_count_gives_no_rows() -> None:
    rows = b'{"arm":"a","at":{},"error":null,"input":"%s","measure":"m","score":1,"seed":0,' % (
        samples.SOME_DIGEST.encode()
    )
    data = b"".join(
        rows + b'"t_ms":null,"unit":"u%d","warmup":%s}\n' % (n, word)
        for n, word in enumerate((b"false", b"true"))
    )
    record = {"spec": {"document": {"metrics": [], "gates": [], "plan": {}}}}
    parts = [
        Part("lr=1", {"lr": "1"}, record, data),
        Part("lr=2", {"lr": "2"}, None, data, why="integrity"),
    ]
    pooled = pool_samples(parts).splitlines()
    # of the first part only what is fresh: the warm-up used the same input
    assert pooled == []
    fresh = Part("lr=3", {"lr": "3"}, record, data.split(b"\n")[0] + b"\n")
    (line,) = pool_samples([fresh]).splitlines()
    assert b'"at":{"lr":"3"}' in line
    assert cover_of(["lr=1", "lr=2"], parts)["missing"] == ["lr=2"]


def test_the_campaigns_of_this_repository_are_in_order_and_no_presets() -> None:
    folder = ROOT / "presets" / "campaigns"
    files = sorted(folder.glob("*.yaml"))
    assert files
    for path in files:
        found = read_campaign(path.read_bytes(), where=path.name)
        assert found["name"] == path.stem
        assert freeze(found).name == path.stem
    named = {f"presets/campaigns/{path.name}": path.read_bytes() for path in files}
    assert not parse_catalog(named).presets
