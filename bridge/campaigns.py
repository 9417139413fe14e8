"""The life of a campaign as one table. Pure, as `bridge.states` is for a job.

Every commit on a campaign's ref carries one `Event`. `bridge/PROTOCOL.md` draws its diagram from
this table (`make protocol`).
"""

from __future__ import annotations

from enum import StrEnum

from bridge.errors import IntegrityError
from bridge.states import Actor


class State(StrEnum):
    """Where a campaign stands."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"


class Event(StrEnum):
    """What one commit of a campaign's chain records."""

    CAMPAIGN = "campaign"
    LAUNCH = "launch"
    DECIDE = "decide"
    PAUSE = "pause"
    RESUME = "resume"
    AMEND = "amend"
    DONE = "done"


_REQUESTER, _ANYONE = Actor.REQUESTER, Actor.ANYONE

TRANSITIONS: dict[tuple[State | None, Event], tuple[State, Actor]] = {
    (None, Event.CAMPAIGN): (State.RUNNING, _REQUESTER),
    (State.RUNNING, Event.LAUNCH): (State.RUNNING, _ANYONE),
    (State.RUNNING, Event.DECIDE): (State.RUNNING, _ANYONE),
    (State.RUNNING, Event.PAUSE): (State.PAUSED, _ANYONE),
    (State.RUNNING, Event.AMEND): (State.RUNNING, _REQUESTER),
    (State.RUNNING, Event.DONE): (State.DONE, _ANYONE),
    (State.PAUSED, Event.DECIDE): (State.PAUSED, _ANYONE),
    (State.PAUSED, Event.RESUME): (State.RUNNING, _REQUESTER),
    (State.PAUSED, Event.AMEND): (State.PAUSED, _REQUESTER),
}


def next_state(state: State | None, event: Event) -> State:
    """The state after `event`.

    Raises:
        IntegrityError: the table has no such transition.
    """
    found = TRANSITIONS.get((state, event))
    if found is None:
        name = state.value if state else "(no ref)"
        raise IntegrityError(f"no {event.value} may follow the state {name} of a campaign")
    return found[0]


def draw_diagram() -> str:
    """The table as a Mermaid state diagram, for PROTOCOL.md."""
    lines = ["stateDiagram-v2"]
    for (source, event), (target, _) in TRANSITIONS.items():
        lines.append(f"    {source.value if source else '[*]'} --> {target.value}: {event.value}")
    return "\n".join([*lines, f"    {State.DONE.value} --> [*]"])


def draw_table() -> str:
    """The table as Markdown rows, for PROTOCOL.md."""
    lines = ["| state | event | next state | written by |", "|---|---|---|---|"]
    for (source, event), (target, actor) in TRANSITIONS.items():
        start = source.value if source else "(no ref)"
        lines.append(f"| {start} | {event.value} | {target.value} | {actor.value} |")
    return "\n".join(lines)
