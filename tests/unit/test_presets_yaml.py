from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import ManifestError
from presets import strict_yaml
from presets.definition import parse_preset
from tests.hostile import PRESETS

HOSTILE = Path(__file__).parents[1] / "data" / "hostile" / "presets"

# file in HOSTILE: where and how it is refused
REFUSALS = {
    "alias": ":2:14: alias *name",
    "anchor": ":1:7: anchor &name",
    "beyond-unicode": ":1:10: an escape that stands for no character",
    "billion-laughs": ":1:4: anchor &a",
    "binary-number": ":2:11: 0b10 may be read as a number of another base",
    "binary-tag": ":1:7: tag tag:yaml.org,2002:binary",
    "bool-key": ":1:1: key true is no string",
    "byte-order-mark": ":1:1: invisible or control character U+FEFF",
    "comma-in-flow": ":1:31: yes may be read as a boolean",
    "complex-key": ":1:3: a key is a plain word",
    "date": ":1:14: 2026-01-31 may be read as a date",
    "deep-block": ":1:49: nested deeper than 24 levels",
    "deep-flow": ":1:30: nested deeper than 24 levels",
    "deep-mapping": ":1:97: nested deeper than 24 levels",
    "default-value-key": ":1:14: = is a default-value key",
    "directive": ":1:1: YAML directive",
    "duplicate-key-escaped": ":2:1: duplicate key 'name'",
    "duplicate-key-nested": ":1:35: duplicate key 'wall_s'",
    "duplicate-key": ":3:1: duplicate key 'argv'",
    "empty-value": ":1:6: empty value",
    "empty": ":1:1: empty document",
    "escape-sequence": ":1:7: invisible or control character U+001B",
    "exponent": ":1:19: 1e3 is a number to YAML 1.2 and a string to YAML 1.1",
    "hexadecimal": ":2:11: 0x10 may be read as a number of another base",
    "infinity": ":1:19: -.inf may be read as a number that JSON lacks",
    "integer-too-large": ":2:11: integer 9007199254740993 lies beyond 2**53",
    "latin-1": ":1: not UTF-8 at byte 16",
    "line-separator": ":1:11: invisible or control character U+2028",
    "lone-surrogate": ":1:7: lone surrogate in a string",
    "merge-key": ":2:1: << is a merge key",
    "non-specific-tag": ":1:7: tag !",
    "norway": ":1:10: no may be read as a boolean",
    "not-a-number": ":1:19: .nan may be read as a number that JSON lacks",
    "nul": ":1:9: invisible or control character U+0000",
    "null-key": ":1:1: key null is no string",
    "null-word": ":1:14: ~ may be read as null",
    "number-key": ":1:1: key 1 is no string",
    "number-too-large": ":1:19: number 1.0e+999 is too large",
    "octal-1.2": ":2:11: 0o10 may be read as a number of another base",
    "octal": ":2:11: 010 may be read as an octal number",
    "on-key": ":1:1: on may be read as a boolean",
    "only-a-comment": ":2:1: empty document",
    "python-object": ":2:7: tag tag:yaml.org,2002:python/object/apply:os.system",
    "recursive-anchor": ":1:1: anchor &self",
    "right-to-left": ":2:14: invisible or control character U+202E",
    "sexagesimal": ":2:11: 1:30 may be read in base 60",
    "tab-indent": ":2:1: not YAML: found character '\\t' that cannot start any token",
    "tag-directive": ":1:1: YAML directive",
    "true-word": ":1:23: True may be read as a boolean",
    "two-documents": ":2:1: more than one document",
    "unclosed": ":2:1: not YAML: expected ',' or ']', but got '<stream end>'",
    "underscored-number": ":2:11: 1_000 may be read as a number",
    "utf-16": ":1: not UTF-8 at byte 0",
    "zero-width": ":1:9: invisible or control character U+200B",
}


def load(text: str) -> object:
    return strict_yaml.load(text.encode(), where="f.yaml").value


def test_every_hostile_file_has_an_expectation() -> None:
    assert sorted(path.stem for path in HOSTILE.glob("*.yaml")) == sorted(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_hostile_preset_is_refused_at_its_line_and_column(name: str) -> None:
    path = HOSTILE / f"{name}.yaml"
    with pytest.raises(ManifestError) as caught:
        parse_preset(path.read_bytes(), path.name)
    assert str(caught.value) == path.name + REFUSALS[name]


@pytest.mark.parametrize("name", sorted(set(REFUSALS) - {"tab-indent", "unclosed"}))
def test_a_refusal_says_what_to_do_unless_the_parser_itself_gave_up(name: str) -> None:
    path = HOSTILE / f"{name}.yaml"
    with pytest.raises(ManifestError) as caught:
        strict_yaml.load(path.read_bytes(), where=path.name)
    assert caught.value.remedy or "stands for no character" in caught.value.message


def test_a_document_larger_than_the_bound_is_not_even_parsed() -> None:
    with pytest.raises(ManifestError, match="65537 bytes, at most 65536"):
        strict_yaml.load(b"#" * (strict_yaml.MAX_BYTES + 1), where="f.yaml")


def test_plain_scalars_that_all_yaml_reads_alike_keep_their_type() -> None:
    assert load("[1, -2, 0, 1.5, 1.0e-3, true, false, null]") == [
        *(1, -2, 0, 1.5, 0.001),
        *(True, False, None),
    ]


def test_words_versions_and_quoted_text_stay_strings() -> None:
    text = "[two words, 0.1.2, -m, '010', \"yes\", 'null', a:b, '', {python: x}]"
    assert load(text) == [
        *("two words", "0.1.2", "-m", "010", "yes", "null", "a:b", ""),
        {"python": "x"},
    ]


def test_folded_and_literal_blocks_comments_and_a_start_mark_are_taken() -> None:
    assert load("---\na: >-\n  one\n  two\nb: |  # kept\n  three\n") == {
        "a": "one two",
        "b": "three\n",
    }


def test_lines_are_known_by_path() -> None:
    read = strict_yaml.load(b"a: 1\nb:\n  - x\n  - {c d: 2}\n", where="f.yaml")
    assert dict(read.lines) == {
        "$": 1,
        "$.a": 1,
        "$.b": 2,
        "$.b[0]": 3,
        "$.b[1]": 4,
        "$.b[1]['c d']": 4,
    }


def test_every_shipped_file_is_strict_yaml() -> None:
    paths = sorted(PRESETS.glob("*.yaml"))
    assert len(paths) > 10
    for path in paths:
        assert isinstance(strict_yaml.load(path.read_bytes(), where=path.name).value, dict)
