"""The life of a job as one table. Pure: time, ids and randomness are arguments elsewhere.

Every commit on a job's ref carries one `Event`; `TRANSITIONS` says which may follow which, and
who may write it. `bridge/PROTOCOL.md` draws its diagram from this table (`make protocol`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import IntegrityError


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"


class Event(StrEnum):
    """What one commit of a job's chain records."""

    REQUEST = "request"
    CLAIM = "claim"
    LOG = "log"
    REQUEUE = "requeue"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"


class Actor(StrEnum):
    """Who may write an event."""

    REQUESTER = "requester"
    RUNNER = "any runner"
    HOLDER = "the runner that holds the claim"
    ANYONE = "any runner or client"


@dataclass(frozen=True, slots=True)
class Transition:
    """The state an event leads to, and who may write it there."""

    state: State
    actors: frozenset[Actor]


TERMINAL_STATES = frozenset(
    {State.DONE, State.FAILED, State.REJECTED, State.CANCELLED, State.EXPIRED, State.LOST}
)
TERMINAL_EVENTS = frozenset(Event(state.value) for state in TERMINAL_STATES)
HELD_STATES = frozenset({State.CLAIMED, State.RUNNING})


def _to(state: State, *actors: Actor) -> Transition:
    return Transition(state, frozenset(actors))


_HOLDER, _ANYONE = Actor.HOLDER, Actor.ANYONE

TRANSITIONS: dict[tuple[State | None, Event], Transition] = {
    (None, Event.REQUEST): _to(State.QUEUED, Actor.REQUESTER),
    (State.QUEUED, Event.CLAIM): _to(State.CLAIMED, Actor.RUNNER),
    (State.QUEUED, Event.REJECTED): _to(State.REJECTED, Actor.RUNNER),
    (State.QUEUED, Event.CANCELLED): _to(State.CANCELLED, _ANYONE),
    (State.QUEUED, Event.EXPIRED): _to(State.EXPIRED, _ANYONE),
    (State.CLAIMED, Event.LOG): _to(State.RUNNING, _HOLDER),
    (State.CLAIMED, Event.DONE): _to(State.DONE, _HOLDER),
    (State.CLAIMED, Event.FAILED): _to(State.FAILED, _HOLDER),
    (State.CLAIMED, Event.CANCELLED): _to(State.CANCELLED, _HOLDER, _ANYONE),
    (State.CLAIMED, Event.REQUEUE): _to(State.QUEUED, _HOLDER, _ANYONE),
    (State.CLAIMED, Event.LOST): _to(State.LOST, _HOLDER, _ANYONE),
    (State.RUNNING, Event.LOG): _to(State.RUNNING, _HOLDER),
    (State.RUNNING, Event.DONE): _to(State.DONE, _HOLDER),
    (State.RUNNING, Event.FAILED): _to(State.FAILED, _HOLDER),
    (State.RUNNING, Event.CANCELLED): _to(State.CANCELLED, _HOLDER, _ANYONE),
    (State.RUNNING, Event.REQUEUE): _to(State.QUEUED, _HOLDER, _ANYONE),
    (State.RUNNING, Event.LOST): _to(State.LOST, _HOLDER, _ANYONE),
}


def next_state(state: State | None, event: Event) -> State:
    """The state after `event`.

    Raises:
        IntegrityError: the table has no such transition.
    """
    transition = TRANSITIONS.get((state, event))
    if transition is None:
        name = state.value if state else "(no ref)"
        raise IntegrityError(f"no {event.value} may follow the state {name}")
    return transition.state


def replay(events: Iterable[Event]) -> State:
    """The state that a whole chain of events ends in.

    Raises:
        IntegrityError: the chain is empty or leaves the table, naming the place.
    """
    state: State | None = None
    for index, event in enumerate(events):
        try:
            state = next_state(state, event)
        except IntegrityError as error:
            raise IntegrityError(f"commit {index + 1} of the chain: {error.message}") from error
    if state is None:
        raise IntegrityError("the chain holds no commit")
    return state


def draw_diagram() -> str:
    """The table as a Mermaid state diagram, for PROTOCOL.md."""
    lines = ["stateDiagram-v2"]
    for (source, event), transition in TRANSITIONS.items():
        start = source.value if source else "[*]"
        lines.append(f"    {start} --> {transition.state.value}: {event.value}")
    lines += [f"    {state.value} --> [*]" for state in State if state in TERMINAL_STATES]
    return "\n".join(lines)


def draw_table() -> str:
    """The table as Markdown rows, for PROTOCOL.md."""
    lines = ["| state | event | next state | written by |", "|---|---|---|---|"]
    for (source, event), transition in TRANSITIONS.items():
        actors = ", ".join(sorted(actor.value for actor in transition.actors))
        start = source.value if source else "(no ref)"
        lines.append(f"| {start} | {event.value} | {transition.state.value} | {actors} |")
    return "\n".join(lines)
