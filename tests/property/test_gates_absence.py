"""Absent data never passes: no record and no gate is found for which taking data away helps."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.gates.judge import Judged, judge_gates, overall_verdict
from evidence.gates.parse import parse_gates
from evidence.gates.view import read_view

NAMES = ("recall", "speed", "loss")
ARMS = (None, "a", "b")
PLACES = ("0", "1")
DECIMALS = ("-1", "0", "0.05", "0.5", "0.9", "1", "3")
STATS = ("mean", "min", "max", "median", "count")
TABLES = ("cases", "cover", "sets", "digests", "changed_paths")


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    form = draw(st.sampled_from(("share", "figure", "scores")))
    if form == "share":
        n = draw(st.integers(0, 60))
        return {"k": draw(st.integers(0, n)), "n": n}
    if form == "figure":
        return {"value": draw(st.sampled_from((None, 0, 0.5, 1, 2)))}
    return {"values": draw(st.lists(st.sampled_from((0, 0.25, 1, 2, 4)), max_size=7))}


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    keys = [(name, arm, at) for name in NAMES for arm in ARMS for at in (None, *PLACES)]
    metrics = []
    for name, arm, at in draw(st.lists(st.sampled_from(keys), unique=True, max_size=12)):
        place = {} if at is None else {"place": at}
        metrics.append({"name": name, "arm": arm, "at": place, **draw(numbers())})
    record: dict[str, Any] = {"dims": {"place": list(PLACES)}, "metrics": metrics}
    verdicts = st.sampled_from(("pass", "fail"))
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from("xyz"), unique=True, max_size=3))
        record["cases"] = {
            name: {"v": draw(verdicts), "gate": draw(st.sampled_from("gh"))} for name in names
        }
    record["cover"] = draw(
        st.dictionaries(st.just("seeds"), st.lists(st.integers(0, 3), max_size=3))
    )
    members = st.lists(st.sampled_from("pqr"), max_size=2)
    record["sets"] = draw(st.dictionaries(st.sampled_from(("s", "t")), members))
    record["digests"] = draw(st.dictionaries(st.just("cfg"), st.sampled_from("12")))
    if draw(st.booleans()):
        record["changed_paths"] = draw(st.lists(st.sampled_from(("a.py", "b.py")), max_size=2))
    return record


def metric_terms() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"m": st.sampled_from(NAMES)},
        optional={
            "arm": st.sampled_from(("a", "b")),
            "stat": st.sampled_from(STATS),
            "at": st.fixed_dictionaries({"place": st.sampled_from(PLACES)}),
            "base": st.just("old"),
        },
    )


def terms() -> st.SearchStrategy[Any]:
    leaf = metric_terms()
    pair = st.tuples(leaf, leaf).map(list)
    return st.one_of(
        leaf,
        pair.map(lambda both: {"sub": both}),
        pair.map(lambda both: {"ratio": both}),
        leaf.map(lambda one: {"abs": one}),
    )


def plain_rules() -> st.SearchStrategy[dict[str, Any]]:
    decimals = st.sampled_from(DECIMALS)
    ops = st.sampled_from(("<", "<=", ">", ">=", "==", "!="))
    return st.one_of(
        st.tuples(terms(), ops, st.one_of(decimals, terms())).map(lambda part: {"cmp": list(part)}),
        st.tuples(terms(), terms(), st.sampled_from(("0", "0.05", "0.5"))).map(
            lambda part: {"within": list(part)}
        ),
        st.tuples(metric_terms(), st.sampled_from(("up", "down"))).map(
            lambda part: {"trend": list(part)}
        ),
        st.sampled_from(
            (
                {"cases": {"base": "old", "lost_max": 0}},
                {"cases": {"base": "old", "gained_min": 1}},
                {"cases": {"pass_min": 2}},
                {"cases": {"require": "x"}},
                {"cover": {"seeds": 2}},
                {"cover": {"seeds": [1, 2]}},
                {"same": {"base": "old", "keys": ["cfg"]}},
                {"disjoint": ["s", "t"]},
                {"untouched": ["a*"]},
            )
        ),
    )


def rules() -> st.SearchStrategy[dict[str, Any]]:
    def wrap(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        several = st.lists(inner, min_size=1, max_size=3)
        return st.one_of(
            several.map(lambda found: {"all": found}),
            several.map(lambda found: {"any": found}),
            inner.map(lambda found: {"not": found}),
            st.tuples(inner, st.sampled_from(("0.5", "1"))).map(
                lambda part: {"each": "place", "rule": part[0], "min_frac": part[1]}
            ),
        )

    return st.recursive(plain_rules(), wrap, max_leaves=4)


def judge(rule: dict[str, Any], by: str, record: dict[str, Any], base: dict[str, Any]) -> Judged:
    gates = parse_gates([{"id": "g", "rule": rule, "decide": {"by": by}}])
    return judge_gates(gates, read_view(record), {"old": read_view(base)})[0]


def fits(rule: dict[str, Any]) -> bool:
    """Whether the tree stays within the language's depth."""
    from evidence.gates.parse import parse_each

    return not parse_each([{"id": "g", "rule": rule}])[1]


@settings(max_examples=300, deadline=None)
@given(
    rule=rules().filter(fits),
    by=st.sampled_from(("point", "point", "ci")),
    record=records(),
    base=records(),
    data=st.data(),
)
def test_taking_data_away_never_makes_a_gate_pass(
    rule: dict[str, Any], by: str, record: dict[str, Any], base: dict[str, Any], data: st.DataObject
) -> None:
    poorer = copy.deepcopy(record)
    tables = [name for name in TABLES if poorer.get(name)]
    what = data.draw(st.sampled_from(("metric", "name", "scores", *tables)))
    if what in TABLES:
        del poorer[what]
    elif poorer["metrics"]:
        chosen = data.draw(st.integers(0, len(poorer["metrics"]) - 1))
        metric = poorer["metrics"][chosen]
        if what == "metric":
            del poorer["metrics"][chosen]
        elif what == "name":
            poorer["metrics"] = [one for one in poorer["metrics"] if one["name"] != metric["name"]]
        else:
            kept = {key: metric[key] for key in ("name", "arm", "at")}
            poorer["metrics"][chosen] = {**kept, "value": None}
    after = judge(rule, by, poorer, base).verdict.value
    if after == "pass":
        assert judge(rule, by, record, base).verdict.value == "pass"


@settings(max_examples=300, deadline=None)
@given(rule=rules().filter(fits), by=st.sampled_from(("point", "ci")), dims=st.booleans())
def test_an_empty_record_passes_no_gate(rule: dict[str, Any], by: str, dims: bool) -> None:
    record: dict[str, Any] = {"dims": {"place": list(PLACES)}} if dims else {}
    judged = judge(rule, by, record, {})
    assert judged.verdict.value in ("missing", "error"), json.dumps(rule)
    assert overall_verdict([judged]).value != "pass"


@settings(max_examples=200, deadline=None)
@given(
    rule=rules().filter(fits), by=st.sampled_from(("point", "ci")), record=records(), base=records()
)
def test_a_gate_is_judged_the_same_twice(
    rule: dict[str, Any], by: str, record: dict[str, Any], base: dict[str, Any]
) -> None:
    one, two = judge(rule, by, record, base), judge(rule, by, record, base)
    assert one == two


@settings(max_examples=200, deadline=None)
@given(rule=rules().filter(fits), record=records(), base=records())
def test_a_baseline_that_was_not_given_never_helps(
    rule: dict[str, Any], record: dict[str, Any], base: dict[str, Any]
) -> None:
    gates = parse_gates([{"id": "g", "rule": rule}])
    if judge_gates(gates, read_view(record), {})[0].verdict.value == "pass":
        assert judge(rule, "point", record, base).verdict.value == "pass"
