"""The state table, and what PROTOCOL.md says of it."""

from __future__ import annotations

import re

import pytest

from bridge import protocol
from bridge.errors import IntegrityError
from bridge.states import (
    HELD_STATES,
    TERMINAL_EVENTS,
    TERMINAL_STATES,
    TRANSITIONS,
    Actor,
    Event,
    State,
    draw_diagram,
    draw_table,
    next_state,
    replay,
)


def test_no_state_is_a_dead_end_or_out_of_reach() -> None:
    sources = {source for source, _ in TRANSITIONS}
    targets = {transition.state for transition in TRANSITIONS.values()}
    assert targets == set(State)
    assert sources == {None, *State} - TERMINAL_STATES
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_a_terminal_event_leads_to_the_state_of_its_name() -> None:
    for (_, event), transition in TRANSITIONS.items():
        assert (event in TERMINAL_EVENTS) == (transition.state in TERMINAL_STATES)
        if event in TERMINAL_EVENTS:
            assert transition.state.value == event.value


def test_only_the_holder_ends_or_logs_what_it_holds() -> None:
    for (source, event), transition in TRANSITIONS.items():
        if event in (Event.LOG, Event.DONE, Event.FAILED):
            assert source in HELD_STATES
            assert transition.actors == {Actor.HOLDER}


def test_every_held_state_can_be_reaped_and_cancelled_by_anyone() -> None:
    for state in HELD_STATES:
        for event in (Event.REQUEUE, Event.LOST, Event.CANCELLED):
            assert Actor.ANYONE in TRANSITIONS[(state, event)].actors


def test_what_the_table_lacks_is_an_error_with_both_names() -> None:
    with pytest.raises(IntegrityError, match="no claim may follow the state done"):
        next_state(State.DONE, Event.CLAIM)
    with pytest.raises(IntegrityError, match=r"no log may follow the state \(no ref\)"):
        next_state(None, Event.LOG)


def test_replay_names_the_commit_that_leaves_the_table() -> None:
    assert replay([Event.REQUEST, Event.CLAIM, Event.LOG, Event.DONE]) is State.DONE
    with pytest.raises(IntegrityError, match="commit 3 of the chain"):
        replay([Event.REQUEST, Event.CLAIM, Event.CLAIM])
    with pytest.raises(IntegrityError, match="holds no commit"):
        replay([])


def test_the_drawings_hold_every_transition() -> None:
    diagram, table = draw_diagram().splitlines(), draw_table().splitlines()
    assert len(diagram) == 1 + len(TRANSITIONS) + len(TERMINAL_STATES)
    assert len(table) == 2 + len(TRANSITIONS)
    assert len(set(table)) == len(table)
    for (source, event), transition in TRANSITIONS.items():
        start = source.value if source else "[*]"
        assert f"    {start} --> {transition.state.value}: {event.value}" in diagram


def test_protocol_md_is_drawn_from_the_table() -> None:
    text = protocol.PATH.read_text("utf-8")
    assert protocol.draw(text) == text, "run: make protocol"
    for marker in re.findall("<!--.*?-->\n", text):
        with pytest.raises(IntegrityError, match="markers"):
            protocol.draw(text.replace(marker, ""))


def test_protocol_md_names_every_schema_and_links_to_it() -> None:
    text = protocol.PATH.read_text("utf-8")
    folder = protocol.PATH.parent
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text)
    for link in links:
        assert (folder / link).exists(), link
    from bridge.records import KINDS

    assert {f"schemas/{kind}.schema.json" for kind in KINDS} <= set(links)
