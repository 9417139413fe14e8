"""Wire records: what goes out comes back, and no change is more than refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import records, wire
from bridge.errors import KakeyaError
from tests.record_strategies import RECORDS
from tests.strategies import values


def test_every_kind_of_record_is_tried() -> None:
    assert set(RECORDS) == set(records.KINDS)


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=30)
@given(data=st.data())
def test_a_record_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    written = wire.to_bytes(record)
    again = wire.parse(kind, written)
    assert again == record
    assert wire.to_bytes(again) == written
    assert wire.digest_of(again) == wire.digest_of(record)


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=40)
@given(data=st.data())
def test_no_change_to_a_record_is_more_than_refused(kind: str, data: st.DataObject) -> None:
    document = wire.to_json(data.draw(RECORDS[kind]))
    key = data.draw(st.sampled_from([*document, "later"]))
    document[key] = data.draw(values)
    try:
        again = wire.from_json(kind, document)
    except KakeyaError as error:
        assert str(error)  # noqa: PT017 - nothing but our own errors is the point
        return
    if kind == "request":
        assert wire.to_json(again) == {
            name: value for name, value in document.items() if value is not None
        } | {"predictions": document.get("predictions") or []}
