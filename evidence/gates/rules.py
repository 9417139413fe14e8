"""Rules and terms from JSON data: one function for each of the twelve rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from evidence.gates.shape import Reader
from evidence.gates.syntax import (
    OPERATORS,
    AllOf,
    AnyOf,
    Cases,
    Compare,
    Constant,
    Cover,
    Difference,
    Disjoint,
    Each,
    Magnitude,
    MetricTerm,
    Not,
    Ratio,
    Rule,
    Same,
    Term,
    Trend,
    Untouched,
    Within,
)
from evidence.reducers import ALIASES, REDUCERS

NAME = re.compile(  # no control or direction sign, which would not show in a report
    r"[\w@|%][^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]{0,99}"
)
_METRIC_KEYS = {"m", "arm", "at", "stat", "base"}
_CASES_KEYS = {"base", "lost_max", "pass_min", "gained_min", "redefined_max", "require"}
_STATS = sorted({*REDUCERS, *ALIASES})


def parse_rule(item: object, path: str, reader: Reader, depth: int = 1) -> Rule | None:
    """A rule: an object with one of the twelve keys (`each` may carry `min_frac`)."""
    if not reader.enter(path, depth):
        return None
    if not isinstance(item, Mapping):
        reader.complain(path, "a rule is wanted: an object with one key")
        return None
    names = [key for key in item if key in _PARSERS]
    extra = {key for key in item if key not in _PARSERS}
    if "each" in names:
        extra -= {"rule", "min_frac"}
    for key in sorted(map(str, extra)):
        reader.complain(f"{path}.{key}", f"unknown key; rules are {', '.join(_PARSERS)}")
    if len(names) != 1:
        reader.complain(path, f"exactly one of {', '.join(_PARSERS)} is wanted")
        return None
    name = names[0]
    value = item if name == "each" else item[name]
    return _PARSERS[name](value, f"{path}.{name}", reader, depth)


def parse_term(item: object, path: str, reader: Reader, depth: int) -> Term | None:
    """A term: a decimal string, a metric, or `sub`, `ratio`, `abs` of terms."""
    if not reader.enter(path, depth):
        return None
    if not isinstance(item, Mapping):
        value = reader.decimal(item, path)
        return None if value is None else Constant(value, str(item))
    if "m" in item:
        return _parse_metric(item, path, reader)
    return _parse_compound(item, path, reader, depth)


def _parse_compound(item: Mapping[str, Any], path: str, reader: Reader, depth: int) -> Term | None:
    data = reader.mapping(item, path, {"sub", "ratio", "abs"})
    if data is None or len(data) != 1:
        reader.complain(path, "a decimal string, or an object with m, sub, ratio or abs is wanted")
        return None
    ((name, inner),) = data.items()
    if name == "abs":
        inner = inner[0] if isinstance(inner, Sequence) and len(inner) == 1 else inner
        term = parse_term(inner, f"{path}.abs", reader, depth + 1)
        return None if term is None else Magnitude(term)
    terms = _parse_pair(inner, f"{path}.{name}", reader, depth)
    if terms is None or name not in ("sub", "ratio"):
        return None
    return Difference(*terms) if name == "sub" else Ratio(*terms)


def _parse_pair(item: object, path: str, reader: Reader, depth: int) -> tuple[Term, Term] | None:
    pair = reader.pair(item, path, 2)
    if pair is None:
        return None
    left = parse_term(pair[0], f"{path}[0]", reader, depth + 1)
    right = parse_term(pair[1], f"{path}[1]", reader, depth + 1)
    return None if left is None or right is None else (left, right)


def _parse_metric(item: Mapping[str, Any], path: str, reader: Reader) -> MetricTerm | None:
    reader.mapping(item, path, _METRIC_KEYS)
    name = reader.text(item["m"], f"{path}.m", NAME)
    arm = reader.text(item["arm"], f"{path}.arm", NAME) if "arm" in item else None
    base = reader.text(item["base"], f"{path}.base", NAME) if "base" in item else None
    stat = reader.choice(item["stat"], f"{path}.stat", _STATS) if "stat" in item else None
    at = item.get("at", {})
    places: list[tuple[str, str | None]] = []
    if not isinstance(at, Mapping):
        reader.complain(f"{path}.at", "an object is wanted")
        return None
    for key, value in at.items():
        reader.text(key, f"{path}.at", NAME)
        place = None if value is None else reader.coordinate(value, f"{path}.at.{key}")
        places.append((str(key), place))
    if name is None:
        return None
    stat = ALIASES.get(stat, stat) if stat else None
    return MetricTerm(name, arm, tuple(sorted(places, key=lambda pair: pair[0])), stat, base)


def _parse_compare(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    parts = reader.pair(item, path, 3)
    if parts is None:
        return None
    left = parse_term(parts[0], f"{path}[0]", reader, depth + 1)
    op = reader.choice(parts[1], f"{path}[1]", OPERATORS)
    right = parse_term(parts[2], f"{path}[2]", reader, depth + 1)
    if left is None or op is None or right is None:
        return None
    if not (reads_metric(left) or reads_metric(right)):
        reader.complain(path, "compares constants alone; a metric is wanted on one side")
        return None
    return Compare(left, cast("Any", op), right)


def reads_metric(term: Term) -> bool:
    """Whether a metric stands anywhere in the term."""
    if isinstance(term, (Difference, Ratio)):
        return reads_metric(term.left) or reads_metric(term.right)
    return reads_metric(term.inner) if isinstance(term, Magnitude) else isinstance(term, MetricTerm)


def _parse_within(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    parts = reader.pair(item, path, 3)
    if parts is None:
        return None
    left = parse_term(parts[0], f"{path}[0]", reader, depth + 1)
    right = parse_term(parts[1], f"{path}[1]", reader, depth + 1)
    tolerance = reader.decimal(parts[2], f"{path}[2]")
    if left is None or right is None or tolerance is None:
        return None
    if tolerance < 0:
        reader.complain(f"{path}[2]", "a tolerance of 0 or more is wanted")
    if not (reads_metric(left) or reads_metric(right)):
        reader.complain(path, "compares constants alone; a metric is wanted on one side")
    return Within(left, right, Constant(tolerance, str(parts[2])))


def _parse_each(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    data = cast("Mapping[str, Any]", item)
    dimension = reader.text(data["each"], path, NAME)
    share = reader.decimal(data.get("min_frac", "1"), f"{path}.min_frac")
    if share is not None and not 0 < share <= 1:
        reader.complain(f"{path}.min_frac", 'a share above "0" and up to "1" is wanted')
    rule = parse_rule(data.get("rule"), f"{path}.rule", reader, depth + 1)
    if dimension is None or rule is None or share is None:
        return None
    return Each(dimension, rule, share)


def _parse_rules(item: object, path: str, reader: Reader, depth: int) -> tuple[Rule, ...] | None:
    if not isinstance(item, Sequence) or isinstance(item, str) or not item:
        reader.complain(path, "a list of at least one rule is wanted")
        return None
    rules = [
        parse_rule(inner, f"{path}[{index}]", reader, depth + 1) for index, inner in enumerate(item)
    ]
    return None if None in rules else cast("tuple[Rule, ...]", tuple(rules))


def _parse_all(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    rules = _parse_rules(item, path, reader, depth)
    return None if rules is None else AllOf(rules)


def _parse_any(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    rules = _parse_rules(item, path, reader, depth)
    return None if rules is None else AnyOf(rules)


def _parse_not(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    rule = parse_rule(item, path, reader, depth + 1)
    return None if rule is None else Not(rule)


def _parse_cases(item: object, path: str, reader: Reader, _depth: int) -> Rule | None:
    data = reader.mapping(item, path, _CASES_KEYS)
    if data is None:
        return None
    base = reader.text(data["base"], f"{path}.base", NAME) if "base" in data else None
    counts = {
        key: reader.whole(data[key], f"{path}.{key}")
        for key in ("lost_max", "pass_min", "gained_min", "redefined_max")
        if key in data
    }
    wanted = data.get("require", ())
    require = reader.texts([wanted] if isinstance(wanted, str) else wanted, f"{path}.require")
    if not counts and not require:
        reader.complain(path, "at least one of lost_max, pass_min, gained_min, require is wanted")
    if base is None and not {"lost_max", "gained_min", "redefined_max"}.isdisjoint(counts):
        reader.complain(f"{path}.base", "is wanted where cases are compared")
    return Cases(base=base, require=require, **counts)


def _parse_cover(item: object, path: str, reader: Reader, _depth: int) -> Rule | None:
    if not isinstance(item, Mapping) or not item:
        reader.complain(path, "an object of counts or lists is wanted")
        return None
    items: list[tuple[str, int | tuple[str, ...]]] = []
    for key, value in item.items():
        reader.text(key, path, NAME)
        inner = f"{path}.{key}"
        if isinstance(value, Sequence) and not isinstance(value, str):
            names = [reader.coordinate(name, inner) for name in value]
            if not names:
                reader.complain(inner, "at least one name is wanted")
            items.append((str(key), tuple(name for name in names if name is not None)))
            continue
        count = reader.whole(value, inner)
        if count == 0:
            reader.complain(inner, "a count of 1 or more is wanted")
        items.append((str(key), count or 0))
    return Cover(tuple(items))


def _parse_same(item: object, path: str, reader: Reader, _depth: int) -> Rule | None:
    data = reader.mapping(item, path, {"base", "keys"}, required=("base", "keys"))
    if data is None:
        return None
    base = reader.text(data.get("base"), f"{path}.base", NAME)
    keys = reader.texts(data.get("keys", ()), f"{path}.keys", NAME)
    if not keys:
        reader.complain(f"{path}.keys", "at least one key is wanted")
    return None if base is None else Same(base, keys)


def _parse_disjoint(item: object, path: str, reader: Reader, _depth: int) -> Rule | None:
    sets = reader.texts(item, path, NAME)
    if len(set(sets)) < 2:
        reader.complain(path, "at least two different sets are wanted")
    return Disjoint(sets)


def _parse_untouched(item: object, path: str, reader: Reader, _depth: int) -> Rule | None:
    patterns = reader.texts(item, path)
    if not patterns:
        reader.complain(path, "at least one pattern is wanted")
    return Untouched(patterns)


def _parse_trend(item: object, path: str, reader: Reader, depth: int) -> Rule | None:
    parts = reader.pair(item, path, 2)
    if parts is None:
        return None
    series = parse_term(parts[0], f"{path}[0]", reader, depth + 1)
    direction = reader.choice(parts[1], f"{path}[1]", ["up", "down"])
    if series is not None and not isinstance(series, MetricTerm):
        reader.complain(f"{path}[0]", "a metric is wanted")
        return None
    if series is None or direction is None:
        return None
    return Trend(series, cast("Any", direction))


_PARSERS: dict[str, Callable[[object, str, Reader, int], Rule | None]] = {
    "cmp": _parse_compare,
    "within": _parse_within,
    "each": _parse_each,
    "all": _parse_all,
    "any": _parse_any,
    "not": _parse_not,
    "cases": _parse_cases,
    "cover": _parse_cover,
    "same": _parse_same,
    "disjoint": _parse_disjoint,
    "untouched": _parse_untouched,
    "trend": _parse_trend,
}
RULES = tuple(_PARSERS)
"""The names of the twelve rules."""
