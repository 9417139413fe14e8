"""Events in any order: what the table of states says of them, and of chains of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.bus.chain import Chain
from bridge.bus.commits import compose_step, runner_identity
from bridge.errors import IntegrityError
from bridge.states import TERMINAL_EVENTS, TERMINAL_STATES, TRANSITIONS, Event, State, replay
from tests import samples
from tests.actors import WHEN_S
from tests.memory_chain import MemoryChain


@given(st.lists(st.sampled_from(Event), max_size=12))
def test_nothing_follows_the_one_end(events: list[Event]) -> None:
    try:
        state = replay(events)
    except IntegrityError:
        return
    ends = [event for event in events if event in TERMINAL_EVENTS]
    assert len(ends) <= 1
    assert (state in TERMINAL_STATES) == (len(ends) == 1)
    assert not ends or events[-1] is ends[0]
    assert events[0] is Event.REQUEST
    assert events.count(Event.REQUEST) == 1


def _record(chain: Chain, event: Event) -> Any:
    if event is Event.CLAIM:
        return samples.make_claim(chain)
    if event is Event.LOG:
        return samples.make_log(chain)
    if event is Event.REQUEUE:
        return samples.make_requeue(chain)
    return samples.make_result(chain, event)


@given(
    st.lists(st.sampled_from([event for event in Event if event is not Event.REQUEST]), max_size=9)
)
@settings(max_examples=60)
def test_a_chain_is_judged_by_the_table_alone(events: list[Event]) -> None:
    """Well-made commits in any order: the table says which of them count."""
    job = MemoryChain(samples.make_request(samples.make_id()))
    state, attempt = State.QUEUED, 1
    for event in events:
        before = job.read()
        author = runner_identity("mac-m4")
        job.append(
            compose_step(before, event, _record(before, event), author=author, when_s=WHEN_S)
        )
        after, allowed = job.read(), TRANSITIONS.get((state, event))
        if allowed is None:
            assert f"no {event} may follow the state {state}" in (after.fault or "")
            assert (after.head, after.links) == (before.head, before.links)
        else:
            state, attempt = allowed.state, attempt + (event is Event.REQUEUE)
            assert (after.fault, after.head) == (None, after.tip)
        assert (after.state, after.attempt) == (state, attempt)
        assert after.held == (after.claim_oid is not None and not after.ended)
