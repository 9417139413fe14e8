"""Canonical JSON: what goes out comes back, and nothing strange comes in."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import canonical
from bridge.errors import ManifestError
from tests.strategies import SAFE, scalars, texts, values


@given(values)
def test_what_is_encoded_is_decoded_to_the_same(value: Any) -> None:
    data = canonical.encode(value)
    again = canonical.decode(data)
    assert again == value
    assert canonical.encode(again) == data
    assert canonical.thaw(canonical.freeze(value)) == value


@given(st.dictionaries(texts, scalars, max_size=5), st.randoms())
def test_the_order_of_keys_says_nothing(value: dict[str, Any], chance: Any) -> None:
    keys = list(value)
    chance.shuffle(keys)
    assert canonical.digest({key: value[key] for key in keys}) == canonical.digest(value)


@given(st.binary(max_size=60) | texts.map(str.encode))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except ManifestError:
        return
    assert canonical.decode(canonical.encode(value)) == value


@given(values, st.data())
def test_no_damage_to_json_is_more_than_refused(value: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        again = canonical.decode(bytes(text))
    except ManifestError:
        return
    assert canonical.decode(canonical.encode(again)) == again


@given(texts, scalars, scalars)
def test_a_key_twice_is_always_refused(key: str, one: Any, two: Any) -> None:
    name = json.dumps(key)
    data = f"{{{name}: {json.dumps(one)}, {name}: {json.dumps(two)}}}".encode()
    with pytest.raises(ManifestError, match="duplicate key"):
        canonical.decode(data)


@given(st.integers() | st.floats())
def test_a_number_is_written_only_if_it_can_be_read(number: float) -> None:
    try:
        data = canonical.encode(number)
    except ManifestError:
        assert not math.isfinite(number) or abs(number) > SAFE
        return
    assert canonical.decode(data) == number


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10), st.integers(0, 2**48 - 1))
def test_ulids_keep_their_time_and_its_order(now_ms: int, noise: bytes, other_ms: int) -> None:
    ulid, other = canonical.make_ulid(now_ms, noise), canonical.make_ulid(other_ms, noise)
    assert canonical.is_ulid(ulid)
    assert canonical.ulid_time_ms(ulid) == now_ms
    assert (ulid < other) == (now_ms < other_ms)
