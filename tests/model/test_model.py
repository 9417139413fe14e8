"""The exhaustive model in the small: two runners, one client, one cancel; `make model` is whole."""

from __future__ import annotations

import pytest

from bridge.states import Event, State
from tests.model.moves import Rules
from tests.model.search import explore, find_stuck
from tests.model.world import World


@pytest.mark.parametrize(("crashes", "losses"), [(0, 0), (0, 1)])
def test_no_world_breaks_an_invariant_and_each_can_end(crashes: int, losses: int) -> None:
    found = explore(World(crashes=crashes, losses=losses))
    assert not found.broken, found.broken
    assert found.states > 10_000
    assert {
        (None, Event.REQUEST),
        (State.QUEUED, Event.CLAIM),
        (State.QUEUED, Event.CANCELLED),
        (State.CLAIMED, Event.REQUEUE),
        (State.RUNNING, Event.REQUEUE),
        (State.RUNNING, Event.LOST),
        (State.RUNNING, Event.DONE),
        (State.RUNNING, Event.CANCELLED),
    } <= found.transitions


@pytest.mark.parametrize(
    ("rules", "symptom"),
    [
        (Rules(fencing=False), "after the end|does not count"),
        (Rules(own_clock=False), "polls after a sign of life"),
        (Rules(compare_and_swap=False), "after the end|rewritten"),
    ],
    ids=["no-fencing", "own-clock-removed", "no-compare-and-swap"],
)
def test_a_planted_bug_is_found_with_its_story(rules: Rules, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        assert not (found := explore(World(), rules)).broken, found.broken


def test_a_world_that_can_never_end_is_found() -> None:
    """The proof that everything ends is no empty one: a world without a way out is named."""
    assert find_stuck([World()], {World(): []}) == World()
