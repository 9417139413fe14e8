"""JSON Schema validation, and the published schemas of the wire records."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jsonschema
import pytest

from bridge import records, schema, wire
from bridge.errors import ManifestError


def _problems(value: object, rule: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        schema.check(value, rule, where="here", remedy="look")
    assert (caught.value.where, caught.value.remedy) == ("here", "look")
    return caught.value.problems


def test_every_fault_is_named_at_its_path() -> None:
    rule = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"items": {"type": "string"}}},
        "required": ["c"],
        "additionalProperties": False,
    }
    problems = _problems({"a": "x", "b": ["y", 1], "d": 0}, rule)
    assert [line.split(":")[0] for line in problems] == ["$", "$", "$.a", "$.b[1]"]


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_only_an_integer_is_an_integer(value: object) -> None:
    schema.check(1, {"type": "integer"}, where="w")
    assert len(_problems(value, {"type": "integer"})) == 1


@pytest.mark.parametrize("value", [True, False, "1.5", None])
def test_a_boolean_is_no_number(value: object) -> None:
    schema.check(1.5, {"type": "number"}, where="w")
    assert len(_problems(value, {"type": "number"})) == 1


def test_at_most_twenty_faults_are_listed() -> None:
    problems = _problems(list(range(50)), {"items": {"type": "string"}})
    assert len(problems) == schema.MAX_PROBLEMS + 1
    assert problems[-1] == "and 30 more"


def test_what_a_stranger_wrote_is_quoted_short_and_printable() -> None:
    rule = {"additionalProperties": {"type": "integer"}}
    (problem,) = _problems({"k\x1b\u202e" * 200: "v\n\x07" * 5_000}, rule)
    assert problem.isprintable()
    assert len(problem) < 600


def test_unique_items_cost_little() -> None:
    rule = {"type": "array", "uniqueItems": True, "items": {"type": "string"}, "maxItems": 32}
    (problem,) = _problems(["a", "b", "a"], rule)
    assert "twice" in problem
    began_s = time.process_time()
    _problems([{"n": number} for number in range(6_000)], rule)
    assert time.process_time() - began_s < 3.0


@pytest.mark.parametrize("kind", records.KINDS)
def test_a_published_schema_says_what_its_record_holds(kind: str) -> None:
    published = schema.load("bridge", kind)
    jsonschema.Draft202012Validator.check_schema(published)
    assert published["$id"] == f"kakeya.{kind}/{wire.PROTOCOL}"
    assert published["properties"]["schema"] == {"const": published["$id"]}
    assert (published.get("additionalProperties") is False) == (kind == "request")
    fields = dataclasses.fields(records.KINDS[kind])
    assert set(published["properties"]) == {"schema", *(item.name for item in fields)}
    wanted = {
        item.name
        for item in fields
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    assert set(published["required"]) - {"schema"} >= wanted


def _patterns(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["pattern"]] if isinstance(value.get("pattern"), str) else []
        return own + [found for inner in value.values() for found in _patterns(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in _patterns(inner)]
    return []


@pytest.mark.parametrize("kind", records.KINDS)
def test_no_pattern_lets_a_trailing_newline_by(kind: str) -> None:
    for pattern in _patterns(schema.load("bridge", kind)):
        assert pattern.startswith("^")
        assert pattern.endswith(r"(?![\s\S])")
