"""What our reader takes, every YAML reader takes alike; what it refuses, it refuses cleanly."""

from __future__ import annotations

import json

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.errors import ManifestError
from presets import strict_yaml

SCALAR_LETTERS = "0123456789.eE+-_:xobOnNyYfFtT~<=ulsariA "
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_ ", max_size=4), inner)
    ),
    max_leaves=12,
)


@given(st.text(SCALAR_LETTERS, min_size=1, max_size=12))
@example("1:30")
@example("190:20:30.15")
@example("0o7")
@example("+1")
@example("1.")
@example(".5")
@example("1e3")
@example("2026-1-1")
def test_a_plain_scalar_that_is_taken_means_the_same_to_pyyaml(text: str) -> None:
    try:
        ours = strict_yaml.load(text.encode(), where="x").value
    except ManifestError:
        return
    theirs = yaml.safe_load(text)
    assert type(ours) is type(theirs)
    assert ours == theirs
    if isinstance(ours, str) and ours == text:
        assert not is_json_scalar(text)
    elif isinstance(ours, (bool, int, float)) or ours is None:
        assert json.loads(text) == ours


def is_json_scalar(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def refusal(data: bytes) -> ManifestError | None:
    try:
        strict_yaml.load(data, where="x")
    except ManifestError as error:
        return error
    return None


@given(JSON)
def test_what_a_yaml_writer_quotes_is_read_back(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)  # JSON is YAML
    # JSON may write 1e+16; a preset has to write such a number with a dot.
    if (error := refusal(text.encode())) and "YAML 1.1" in error.message:
        return
    assert strict_yaml.load(text.encode(), where="x").value == value


@given(st.text(max_size=60) | st.text("{}[]&*!|>'\"%#-?:, \n\tab1<", max_size=60))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    error = refusal(text.encode("utf-8", "surrogatepass"))
    assert error is None or error.where.startswith("x:")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused_with_their_place(data: bytes) -> None:
    error = refusal(data)
    assert error is None or error.where.startswith("x:")
