"""Params hold their bounds: what fits lies in them, and is rendered as one token."""

from __future__ import annotations

import math
import posixpath
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bridge.errors import ManifestError
from presets.binding import bind, parse_param_text, render_argv, render_config
from presets.params import IntParam, NumberParam, Param, PathParam, StringParam, parse_param
from tests.full_preset import FULL, parse
from tests.hostile import put

PRESET = parse(FULL)
REQUIRED = {"where": "tests", "tag": "a", "base": "sha256:" + "0" * 64}
TAG = {"kind": "string", "pattern": ".*", "max_length": 64, "doc": "anything"}
OPEN = parse(
    put(put(FULL, ("params", "tag"), TAG), ("argv",), ["{python}", "{tag}"])
    | {"config": {name: f"{{{name}}}" for name in PRESET.params if name != "base"}}
)
RESERVED = {"python": "py", "job": "job.json", "out": "out"}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
PATHS = st.lists(
    st.sampled_from(["tests", "unit", "..", ".", "", "-x", ".git", ".GIT", "git~1", "a b", "x."])
    | st.text(max_size=5),
    max_size=5,
).map("/".join)
SAFE_INT = st.integers(-(2**53) + 1, 2**53 - 1)


def fits(param: Param, value: object) -> bool:
    return param.fault(value) is None


def refusal(act: Callable[[], object]) -> ManifestError | None:
    try:
        act()
    except ManifestError as error:
        return error
    return None


@given(SAFE_INT, SAFE_INT, ANYTHING | SAFE_INT)
def test_an_int_lies_within_its_bounds(one: int, other: int, value: Any) -> None:
    low, high = sorted((one, other))
    param = IntParam(name="x", doc="x", default=None, min=low, max=high)
    assert fits(param, value) == (type(value) is int and low <= value <= high)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), ANYTHING | st.floats())
def test_a_number_is_finite_and_within_its_bounds(one: float, other: float, value: Any) -> None:
    low, high = sorted((one, other))
    param = NumberParam(name="x", doc="x", default=None, min=low, max=high)
    is_number = type(value) in (int, float) and math.isfinite(value)
    assert fits(param, value) == (is_number and low <= value <= high)


@given(ANYTHING)
@example("abc\n")
@example("-abc")
@example("ab\u202ec")
def test_a_string_that_fits_is_one_plain_line(value: Any) -> None:
    param = StringParam(
        name="x", doc="x", default=None, pattern=r"[\s\S]*", max_length=9, sample="a"
    )
    if not fits(param, value):
        return
    assert isinstance(value, str)
    assert len(value) <= 9
    assert not value.startswith("-")
    assert len(value.splitlines()) <= 1
    assert all(unicodedata.category(char)[0] != "C" for char in value)


@given(st.text("ab\n$", max_size=5))
@example("ab\n")
def test_a_pattern_matches_the_whole_value(value: str) -> None:
    param = StringParam(name="x", doc="x", default=None, pattern="ab$|b", max_length=9, sample="b")
    assert fits(param, value) == (value in {"ab", "b"})


@given(PATHS | st.text())
@example("tests/../tests")
@example("tests/\u200d.git")
@example("tests/.git")
@example("tests/.ＧＩＴ")
@example("tests//x")
@example("tests/")
@example("testsuite")
@example("tests/a\u0301")
@example("tests/x:y")
@example("tests\\x")
def test_a_path_that_fits_lies_under_its_prefix(value: str) -> None:
    param = PathParam(name="x", doc="x", default=None, prefix="tests")
    if not fits(param, value):
        return
    assert value == "tests" or value.startswith("tests/")
    assert posixpath.normpath(posixpath.join("/root", value)) == f"/root/{value}"
    folded = unicodedata.normalize("NFKC", value).casefold().split("/")
    assert not {"..", ".", "", ".git", "git~1"} & set(folded)
    assert not any(part.startswith("-") or part.endswith((".", " ")) for part in value.split("/"))
    assert not re.search(r"[\\:\x00-\x1f\x7f]", value)


@given(st.dictionaries(st.sampled_from([*PRESET.params, "other"]), ANYTHING, max_size=8))
def test_binding_takes_all_or_names_each(params: dict[str, Any]) -> None:
    error = refusal(lambda: bind(PRESET, {**REQUIRED, **params}))
    if error:
        named = [problem.removeprefix("$.params.").partition(":")[0] for problem in error.problems]
        assert set(named) <= set(params)
        assert len(named) == len(set(named))
        return
    bound = bind(PRESET, {**REQUIRED, **params})
    assert list(bound) == list(PRESET.params)
    assert all(fits(PRESET.params[name], value) for name, value in bound.items())
    assert bind(PRESET, bound) == bound
    # Whatever fits is one token: argv keeps its length, and config its shape.
    argv = render_argv(PRESET, bound, RESERVED, {"MODEL": "m"})
    assert len(argv) == len(PRESET.argv)
    assert render_config(PRESET, bound, {"MODEL": "m"}).keys() == FULL["config"].keys()


@given(st.sampled_from(sorted(PRESET.params)), st.text(max_size=12))
def test_what_is_read_from_text_is_checked_like_all_else(name: str, text: str) -> None:
    def read() -> dict[str, Any]:
        return bind(PRESET, {**REQUIRED, **parse_param_text(PRESET, [f"{name}={text}"])})

    if error := refusal(read):
        assert all(problem.startswith(f"$.params.{name}: ") for problem in error.problems)
        return
    bound = read()
    assert fits(PRESET.params[name], bound[name])


@given(
    st.sampled_from(["int", "number"]),
    st.floats(-1e6, 1e6).map(round),
    st.floats(-1e6, 1e6).map(round),
    st.floats(-2e6, 2e6).map(round),
)
def test_a_default_out_of_bounds_is_no_param(kind: str, low: int, high: int, default: int) -> None:
    entry = {"kind": kind, "min": low, "max": high, "default": default, "doc": "x"}
    try:
        param = parse_param("x", entry)
    except ValueError:
        assert not low <= default <= high
        return
    assert low <= default <= high
    assert fits(param, param.example())


@given(
    st.sampled_from(["{python}", "${ENV:MODEL}", "{samples}"]) | st.text("{}$ENV:ab", max_size=9)
)
def test_a_value_that_looks_like_a_token_is_not_read_again(text: str) -> None:
    bound = bind(OPEN, {**REQUIRED, "tag": text})
    env = {"MODEL": "secret", "N": "secret", "E": "secret"}
    assert render_argv(OPEN, bound, RESERVED, env) == ("py", text)
    assert render_config(OPEN, bound, env)["tag"] == text
