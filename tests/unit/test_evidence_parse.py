"""What the gate language and the specs refuse, each fault at its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bridge.errors import ManifestError
from evidence.gates.parse import parse_each, parse_gates
from evidence.spec import parse_spec
from tests.evidence_world import spec

METRIC = {"m": "x"}
GOOD = {"cmp": [METRIC, ">", "0"]}


def nest(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = GOOD
    for _ in range(levels):
        rule = {"not": rule}
    return rule


BAD_RULES: list[tuple[Any, str]] = [
    ({"cmp": [METRIC, ">", 0.5]}, "$[0].rule.cmp[2]"),
    ({"cmp": [METRIC, ">", "NaN"]}, "$[0].rule.cmp[2]"),
    ({"cmp": [METRIC, ">", "1e9999"]}, "$[0].rule.cmp[2]"),
    ({"cmp": [METRIC, ">", " 1"]}, "$[0].rule.cmp[2]"),
    ({"cmp": [METRIC, ">", True]}, "$[0].rule.cmp[2]"),
    ({"cmp": [METRIC, "=", "0"]}, "$[0].rule.cmp[1]"),
    ({"cmp": [METRIC, ">"]}, "$[0].rule.cmp"),
    ({"cmp": ["1", ">", "0"]}, "$[0].rule.cmp"),
    ({"cmp": [{"m": "x", "arms": "a"}, ">", "0"]}, "$[0].rule.cmp[0].arms"),
    ({"cmp": [{"m": "x\n"}, ">", "0"]}, "$[0].rule.cmp[0].m"),
    ({"cmp": [{"m": "x", "stat": "__class__"}, ">", "0"]}, "$[0].rule.cmp[0].stat"),
    ({"cmp": [{"m": "x", "at": []}, ">", "0"]}, "$[0].rule.cmp[0].at"),
    ({"cmp": [{"add": [METRIC, METRIC]}, ">", "0"]}, "$[0].rule.cmp[0].add"),
    ({"cmp": [{"sub": [METRIC]}, ">", "0"]}, "$[0].rule.cmp[0].sub"),
    ({"within": [METRIC, METRIC, "-0.1"]}, "$[0].rule.within[2]"),
    ({"within": ["1", "1", "0"]}, "$[0].rule.within"),
    ({"all": []}, "$[0].rule.all"),
    ({"any": []}, "$[0].rule.any"),
    ({"all": [GOOD], "any": [GOOD]}, "$[0].rule"),
    ({"eval": "1"}, "$[0].rule.eval"),
    ({"cmp": [METRIC, ">", "0"], "min_frac": "1"}, "$[0].rule.min_frac"),
    ({"each": "place"}, "$[0].rule.each.rule"),
    ({"each": "place", "rule": GOOD, "min_frac": "0"}, "$[0].rule.each.min_frac"),
    ({"each": "place", "rule": GOOD, "min_frac": "1.5"}, "$[0].rule.each.min_frac"),
    ({"cases": {}}, "$[0].rule.cases"),
    ({"cases": {"lost_max": 0}}, "$[0].rule.cases.base"),
    ({"cases": {"pass_min": -1}}, "$[0].rule.cases.pass_min"),
    ({"cases": {"pass_min": 1.5}}, "$[0].rule.cases.pass_min"),
    ({"cover": {}}, "$[0].rule.cover"),
    ({"cover": {"seeds": 0}}, "$[0].rule.cover.seeds"),
    ({"cover": {"seeds": []}}, "$[0].rule.cover.seeds"),
    ({"same": {"keys": ["a"]}}, "$[0].rule.same.base"),
    ({"same": {"base": "b", "keys": []}}, "$[0].rule.same.keys"),
    ({"disjoint": ["a", "a"]}, "$[0].rule.disjoint"),
    ({"untouched": []}, "$[0].rule.untouched"),
    ({"trend": [METRIC, "sideways"]}, "$[0].rule.trend[1]"),
    ({"trend": ["1", "up"]}, "$[0].rule.trend[0]"),
    (nest(6), "$[0].rule.not.not.not.not.not.not"),
    ({"all": [{"all": [GOOD] * 70}]}, "$[0].rule.all[0].all"),
    ("cmp", "$[0].rule"),
    (None, "$[0].rule"),
]


@pytest.mark.parametrize(("rule", "path"), BAD_RULES, ids=[str(rule)[:50] for rule, _ in BAD_RULES])
def test_a_bad_rule_is_refused_at_its_path(rule: Any, path: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_gates([{"id": "g", "rule": rule}])
    assert any(problem.startswith(path) for problem in caught.value.problems), caught.value.problems


BAD_GATES: list[tuple[list[Any], str]] = [
    ([{"rule": GOOD}], "$[0].id"),
    ([{"id": "g"}], "$[0].rule"),
    ([{"id": "g", "rule": GOOD, "threshold": "1"}], "$[0].threshold"),
    ([{"id": "g", "rule": GOOD}, {"id": "g", "rule": GOOD}], "$[1].id"),
    ([{"id": "g", "rule": GOOD, "needs": ["h"]}], "$[0].needs"),
    ([{"id": "g", "rule": GOOD, "needs": ["g"]}], "$[0].needs"),
    (
        [{"id": "g", "rule": GOOD, "needs": ["h"]}, {"id": "h", "rule": GOOD, "needs": ["g"]}],
        "$[1].needs",
    ),
    (
        [
            {"id": "g", "rule": GOOD, "needs": ["p"]},
            {"id": "p", "rule": GOOD, "kind": "prediction"},
        ],
        "$[0].needs",
    ),
    ([{"id": "g", "rule": GOOD, "blocking": "no"}], "$[0].blocking"),
    ([{"id": "g", "rule": GOOD, "kind": "hope"}], "$[0].kind"),
    ([{"id": "g", "rule": GOOD, "kind": "prediction", "blocking": True}], "$[0].blocking"),
    ([{"id": "g", "rule": GOOD, "expect": "maybe"}], "$[0].expect"),
    ([{"id": "g", "rule": GOOD, "decide": {"by": "eye"}}], "$[0].decide.by"),
    ([{"id": "g", "rule": GOOD, "decide": {"conf": 0.95}}], "$[0].decide.conf"),
    ([{"id": "g", "rule": GOOD, "decide": {"conf": "1"}}], "$[0].decide.conf"),
    ([{"id": "g", "rule": GOOD, "decide": {"method": "magic"}}], "$[0].decide.method"),
    ([{"id": "../g", "rule": GOOD}], "$[0].id"),
    ([7], "$[0]"),
]


@pytest.mark.parametrize(
    ("gates", "path"), BAD_GATES, ids=[str(gates)[:60] for gates, _ in BAD_GATES]
)
def test_a_bad_gate_is_refused_at_its_path(gates: list[Any], path: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_gates(gates)
    assert any(problem.startswith(path) for problem in caught.value.problems), caught.value.problems


def test_what_is_no_list_is_refused() -> None:
    for data in ({"id": "g"}, "gates", None, [{"id": "g", "rule": GOOD}] * 501):
        assert parse_each(data)[1]


def test_annotations_and_spelled_out_defaults_do_not_change_the_digest() -> None:
    plain, *others = parse_gates(
        [{"id": "g", "rule": GOOD}, {"id": "h", "rule": GOOD}, {"id": "i", "rule": GOOD}]
    )
    spelled = {
        "id": "g",
        "rule": GOOD,
        "decide": {"by": "point", "conf": "0.950"},
        "needs": [],
        "blocking": True,
        "tags": ["a"],
        "note": "n",
        "expect": "pass",
    }
    (same,) = parse_gates([spelled])
    assert same.digest == plain.digest
    assert len({plain.digest, *(gate.digest for gate in others)}) == 3


def test_what_decides_changes_the_digest() -> None:
    base = {"id": "g", "rule": GOOD}
    changed = [
        {**base, "rule": {"cmp": [METRIC, ">=", "0"]}},
        {**base, "decide": {"by": "ci"}},
        {**base, "decide": {"conf": "0.9"}},
        {**base, "blocking": False},
        {**base, "kind": "control"},
    ]
    digests = {parse_gates([gate])[0].digest for gate in (base, *changed)}
    assert len(digests) == len(changed) + 1


BAD_SPECS: list[tuple[str, Any, str]] = [
    ("metrics", [{"name": "x", "reducer": "eval"}], "$.metrics[0].reducer"),
    ("metrics", [{"name": "x", "reducer": "mean", "code": "1"}], "$.metrics[0].code"),
    ("metrics", [{"name": "x", "reducer": "mean"}] * 2, "$.metrics[1].name"),
    ("metrics", {"name": "x"}, "$.metrics"),
    ("plan", {"seeds": [0, 0]}, "$.plan.seeds"),
    ("plan", {"n": -1}, "$.plan.n"),
    ("plan", {"until": "it passes"}, "$.plan.until"),
    ("plan", {"dims": {"context": 3}}, "$.plan.dims.context"),
    ("gates", [{"id": "g", "rule": {"each": "rung", "rule": GOOD}}], "$.gates.g"),
    ("gates", [{"id": "g"}], "$.gates[0].rule"),
    ("plots", [{"kind": "pie", "metric": "speed"}], "$.plots[0].kind"),
    ("plots", [{"kind": "dots", "metric": "unknown"}], "$.plots[0].metric"),
    ("plots", [{"kind": "heatmap", "metric": "recall", "x": "context"}], "$.plots[0].y"),
    ("plots", [{"kind": "curve", "metric": "recall"}], "$.plots[0].x"),
    ("plots", [{"kind": "paired", "metric": "speed", "arms": ["a"]}], "$.plots[0].arms: two arms"),
    ("plots", [{"kind": "dots", "metric": "speed", "arms": ["a", "b"]}], "$.plots[0].arms: two"),
    ("plots", [{"kind": "curve", "metric": "recall", "x": "recall"}], "$.plots[0].x: 'recall' ag"),
    (
        "plots",
        [{"kind": "curve", "metric": "recall", "x": "context"}],
        "$.plots[0].x: no metric 'context'; known are recall, recall_cell, speed",
    ),
    ("predictions", [{"id": "p", "text": "t", "credence": "2"}], "$.predictions[0].credence"),
    ("predictions", [{"id": "p", "text": "t", "rule": {"x": 1}}], "$.predictions[0].rule.x"),
    ("predictions", [{"id": "p", "text": "t"}] * 2, "$.predictions"),
    ("reducers", [], "$.reducers"),
]


@pytest.mark.parametrize(
    ("key", "value", "path"), BAD_SPECS, ids=[path for _, _, path in BAD_SPECS]
)
def test_a_bad_spec_is_refused_at_its_path(key: str, value: Any, path: str) -> None:
    document = copy.deepcopy(spec())
    document[key] = value
    with pytest.raises(ManifestError) as caught:
        parse_spec(document)
    assert any(problem.startswith(path) for problem in caught.value.problems), caught.value.problems


def test_a_plan_is_filled_in_from_the_params_and_open_without_them() -> None:
    document = spec()
    assert parse_spec(document).plan.n == document["params"]["samples"]
    del document["params"]
    assert parse_spec(document).plan.n is None


def test_each_may_go_over_planned_seeds_and_arms() -> None:
    document = spec()
    rule = {"cmp": [{"m": "recall_seed"}, ">=", "0"]}
    document["gates"] = [
        {"id": "seeds", "rule": {"each": "seed", "rule": rule}},
        {"id": "arms", "rule": {"each": "arm", "rule": rule}},
    ]
    assert set(parse_spec(document).plan.places()) == {"context", "depth", "seed", "arm"}
