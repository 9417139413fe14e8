"""A bootstrap from drawn units gives to the last bit what one from drawn rows gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import statistics
from evidence.reducers import REDUCERS, SMOOTH, over_units
from evidence.statistics.resampling import REPLICATES, seeded

SCORES = {
    "shares": st.sampled_from([0.0, 1.0]),
    "quarters": st.integers(-4000, 4000).map(lambda whole: whole / 4),
    "floats": st.floats(-1e6, 1e6),
    "any": st.floats(allow_nan=False, allow_infinity=False),
}
Units = list[list[int]]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[float], Units, list[int]]:
    """A column of scores, its rows in units, and the numbers of units that were drawn."""
    kind = draw(st.sampled_from(sorted(SCORES)))
    column = draw(st.lists(SCORES[kind], min_size=1, max_size=40))
    names = st.sampled_from("abcdefgh")
    single = draw(st.booleans())
    clusters = draw(st.lists(names, min_size=len(column), max_size=len(column)))
    units = statistics.single_units(len(column)) if single else statistics.cluster_units(clusters)
    numbers = st.integers(0, len(units) - 1)
    return column, units, draw(st.lists(numbers, min_size=len(units), max_size=len(units)))


def plain(stat: str, scores: Sequence[float]) -> float:
    return float(cast("Any", REDUCERS[stat])(scores))


@pytest.mark.parametrize("stat", sorted(SMOOTH))
@given(tables())
def test_a_reducer_of_units_is_that_of_their_rows(
    stat: str, table: tuple[list[float], Units, list[int]]
) -> None:
    column, units, drawn = table
    if stat == "harmonic_mean":
        column = [abs(score) + 1.0 for score in column]
    wanted = plain(stat, [column[row] for number in drawn for row in units[number]])
    assert over_units(stat, column, units)(drawn).hex() == wanted.hex()


@given(tables(), tables())
@settings(max_examples=10)
def test_units_are_drawn_one_after_another_for_each_group(
    one: tuple[list[float], Units, list[int]], two: tuple[list[float], Units, list[int]]
) -> None:
    groups, seen = [one[1], two[1]], []

    def note(drawn: Sequence[Sequence[int]]) -> float:
        seen.append(drawn)
        return 0.0

    statistics.bootstrap(groups, note, 0.95, "digest")
    draw = seeded("digest").random
    assert len(seen) == REPLICATES
    assert seen == [[[int(draw() * len(units)) for _ in units] for units in groups] for _ in seen]
