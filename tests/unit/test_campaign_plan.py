"""The pure part of campaigns: the table, and the requests that a plan stands for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge import wire
from bridge.campaigns import TRANSITIONS, Event, State, draw_diagram, draw_table, next_state
from bridge.canonical import is_ulid, ulid_time_ms
from bridge.cells import all_cells, cells_of, check_member, derive_request
from bridge.errors import IntegrityError
from bridge.plans import Axis, Campaign, Node, PresetRef, Resources
from tests import samples


def make_plan(**changes: Any) -> Campaign:
    """Two nodes: one with two axes, one without."""
    grid = Node(
        id="grid",
        preset=PresetRef("noop", samples.SOME_DIGEST),
        params={"exit_code": 0},
        label="any",
        labels=("any",),
        resources=Resources(),
        axes=(Axis("seconds", (0.5, 1)), Axis("seed", (0, 1, 2))),
    )
    last = replace(grid, id="last", axes=(), params={"seconds": 2, "exit_code": 0})
    values: dict[str, Any] = {
        "id": samples.make_id(),
        "bus": samples.make_id(),
        "name": "a-plan",
        "code": samples.NOBODY,
        "nodes": (grid, last),
        "requested_by": "alice",
        "requested_at": "2026-01-02T03:04:05Z",
        "nonce": samples.make_nonce(),
    }
    return Campaign(**{**values, **changes})


def test_the_cells_of_a_node_are_every_combination_once() -> None:
    plan = make_plan()
    paths = [cell.path for cell in all_cells(plan)]
    assert paths[:3] == [f"grid/seconds=0.5,seed={seed}" for seed in (0, 1, 2)]
    assert paths[-1] == "last/whole"
    assert len(set(paths)) == len(paths) == 7


def test_everybody_derives_the_same_bytes_from_a_plan() -> None:
    plan = make_plan()
    again = wire.parse("campaign", wire.to_bytes(plan))
    for one, two in zip(all_cells(plan), all_cells(again), strict=True):
        assert wire.to_bytes(derive_request(plan, one)) == wire.to_bytes(derive_request(again, two))


def test_each_cell_has_an_id_of_its_own_dated_as_its_campaign() -> None:
    plan = make_plan()
    requests = [derive_request(plan, cell) for cell in all_cells(plan)]
    assert len({request.id for request in requests}) == len(requests)
    assert len({request.nonce for request in requests}) == len(requests)
    assert all(is_ulid(request.id) for request in requests)
    assert {ulid_time_ms(request.id) for request in requests} == {ulid_time_ms(plan.id)}
    other = make_plan(id=plan.id)  # another nonce
    assert not {request.id for request in requests} & {
        derive_request(other, cell).id for cell in all_cells(other)
    }


def test_a_derived_request_is_a_request() -> None:
    plan = make_plan()
    for cell in all_cells(plan):
        request = derive_request(plan, cell)
        assert wire.parse_request(wire.to_bytes(request)) == request
        assert dict(request.params) == {**plan.node(cell.node).params, **cell.values}


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"seconds": 9, "exit_code": 0, "seed": 0}},
        {"code": "1" * 40},
        {"priority": 0},
        {"nonce": "f" * 32},
        {"labels": ("any", "gpu")},
    ],
)
def test_a_request_that_differs_from_its_cell_is_no_member(change: dict[str, Any]) -> None:
    plan = make_plan()
    request = derive_request(plan, next(cells_of(plan.nodes[0])))
    check_member(request, plan)
    with pytest.raises(IntegrityError, match="differs from the cell"):
        check_member(replace(request, **change), plan)


def test_a_request_of_another_plan_or_cell_is_no_member() -> None:
    plan = make_plan()
    request = derive_request(plan, next(cells_of(plan.nodes[0])))
    with pytest.raises(IntegrityError, match="no cell of this plan"):
        check_member(request, make_plan())
    with pytest.raises(IntegrityError, match="no cell of this plan"):
        check_member(replace(request, campaign=None), plan)
    assert request.campaign is not None
    strange = replace(request, campaign=replace(request.campaign, cell="seconds=7,seed=0"))
    with pytest.raises(IntegrityError, match="has no cell grid/seconds=7,seed=0"):
        check_member(strange, plan)


def test_an_ended_campaign_moves_no_more_and_a_paused_one_launches_nothing() -> None:
    assert not [event for event in Event if (State.DONE, event) in TRANSITIONS]
    with pytest.raises(IntegrityError, match="no launch may follow the state paused"):
        next_state(State.PAUSED, Event.LAUNCH)
    assert next_state(State.PAUSED, Event.RESUME) is State.RUNNING


def test_the_drawings_hold_every_transition() -> None:
    diagram = draw_diagram().splitlines()
    for (source, event), (target, _) in TRANSITIONS.items():
        start = source.value if source else "[*]"
        assert f"    {start} --> {target.value}: {event.value}" in diagram
    assert len(draw_table().splitlines()) == 2 + len(TRANSITIONS)
