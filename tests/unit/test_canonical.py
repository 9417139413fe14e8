"""Canonical JSON, strict decoding, identifiers."""

from __future__ import annotations

import hashlib

import pytest

from bridge import canonical
from bridge.errors import ManifestError


def test_encoding_is_rfc_8785() -> None:
    # the example of RFC 8785, section 3.2.2
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "€$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical.encode(value) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**53, -(2**53), 1e17, "\ud800", b"x", {1: 2}],
    ids=repr,
)
def test_what_is_no_json_is_not_encoded(value: object) -> None:
    with pytest.raises(ManifestError):
        canonical.encode([value])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"'x'", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b'"\n"', "not JSON"),
        (b"NaN", "NaN is not a JSON number"),
        (b"[Infinity]", "Infinity is not a JSON number"),
        (b"-Infinity", "-Infinity is not a JSON number"),
        (b"1e999", "number 1e999 is too large"),
        (b"9007199254740992", "lies beyond 2**53"),
        (b"-9007199254740992", "lies beyond 2**53"),
        (b"9" * 5000, "lies beyond 2**53"),
        (b'{"a":1,"a":1}', "duplicate key 'a'"),
        (b'{"b":{"a":1,"\\u0061":2}}', "duplicate key 'a'"),
        (b'"\\ud800"', "$: lone surrogate"),
        (b'[{"k":["\\udfff"]}]', "$[0].k[0]: lone surrogate"),
        (b'{"\\ud800":1}', "lone surrogate"),
        (b"[" * 33 + b"]" * 33, "nested deeper than 32"),
        (b"[" * 60_000, "nested deeper than 32"),
        (b" " * 65_537, "65537 bytes, at most 65536"),
    ],
)
def test_what_json_loads_lets_through_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ManifestError) as caught:
        canonical.decode(data, where="here")
    assert caught.value.where == "here"
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"[" * 32 + b"]" * 32, None),
        (b'"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["', "[" * 36),
        (b'"\\"[\\\\"', '"[\\'),
        (b"9007199254740991", 2**53 - 1),
        (b"-0", 0),
        (b"1E2", 100.0),
        ('"größe \\ud83d\\ude00"'.encode(), "größe 😀"),
        (b' {"a" : [ ] }\n', {"a": []}),
    ],
)
def test_what_is_json_is_taken(data: bytes, value: object) -> None:
    decoded = canonical.decode(data)
    assert value is None or decoded == value


def test_digests_are_of_the_canonical_form() -> None:
    one = canonical.digest({"b": 1, "a": [1.0, "x"]})
    assert one == canonical.digest({"a": [1, "x"], "b": 1.0})
    assert one == "sha256:" + hashlib.sha256(b'{"a":[1,"x"],"b":1}').hexdigest()
    assert canonical.is_digest(one)


@pytest.mark.parametrize("text", [None, 1, "", "sha256:", "sha256:" + "A" * 64, "md5:" + "a" * 64])
def test_what_is_no_digest(text: object) -> None:
    assert not canonical.is_digest(text)
    assert not canonical.is_digest("sha256:" + "a" * 64 + "\n")


def test_object_ids_and_ulids_end_where_they_end() -> None:
    assert canonical.is_oid("a" * 40)
    assert not any(map(canonical.is_oid, ["a" * 40 + "\n", "a" * 39, "A" * 40, None]))
    ulid = canonical.make_ulid(0, bytes(10))
    assert ulid == "0" * 26
    assert canonical.is_ulid(ulid)
    assert not any(map(canonical.is_ulid, [ulid + "\n", ulid[1:], "8" + ulid[1:], "U" * 26, None]))


def test_a_ulid_holds_its_time() -> None:
    # the example of github.com/ulid/spec: 01ARZ3NDEKTSV4RRFFQ69G5FAV
    assert canonical.ulid_time_ms("01ARZ3NDEKTSV4RRFFQ69G5FAV") == 1_469_922_850_259
    for now_ms, randomness in [(-1, bytes(10)), (2**48, bytes(10)), (0, bytes(9))]:
        with pytest.raises(ValueError, match="48 bits"):
            canonical.make_ulid(now_ms, randomness)


def test_printable_shows_everything_and_little_of_it() -> None:
    assert canonical.printable("a\x1b[2J\u202eb", 100) == "a\\x1b[2J\\u202eb"
    assert canonical.printable("größe", 100) == "größe"
    short = canonical.printable("a" * 10_000, 100)
    assert len(short) < 110
    assert short.isprintable()


def test_frozen_data_cannot_be_changed() -> None:
    frozen = canonical.freeze({"a": [1, {"b": 2}]})
    with pytest.raises(TypeError):
        frozen["a"] = 1
    assert frozen["a"][1]["b"] == 2
    assert canonical.thaw(frozen) == {"a": [1, {"b": 2}]}
