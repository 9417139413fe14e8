"""Every world that can be reached, and the proof that each of them can still come to an end."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.states import Event, State
from tests.model.moves import Rules, list_moves
from tests.model.world import World


@dataclass
class Found:
    """What a search saw.

    Attributes:
        states: worlds that were reached.
        moves: moves between them.
        transitions: rows of the table that were taken.
        broken: the first broken invariant with the moves that lead to it, '' for none.
    """

    states: int = 0
    moves: int = 0
    transitions: set[tuple[State | None, Event]] = field(default_factory=set)
    broken: str = ""


def explore(start: World, rules: Rules | None = None) -> Found:
    """Search from `start` breadth first, so that the first fault has the shortest story."""
    gc.disable()  # nothing here is a cycle, and looking for one takes most of the time
    try:
        return _explore(start, rules or Rules())
    finally:
        gc.enable()


def _explore(start: World, rules: Rules) -> Found:
    found = Found(states=1)
    came: dict[World, tuple[World, str] | None] = {start: None}
    healthy: dict[World, list[World]] = {}  # after -> before, by moves that are no bad luck
    queue = deque([start])
    while queue:
        world = queue.popleft()
        for move in list_moves(world, rules):
            found.moves += 1
            after = move.world
            if after not in came:
                came[after] = (world, move.name)
                queue.append(after)
            if after.broken:
                found.states = len(came)
                found.broken = f"{after.broken}\n{_tell(came, after)}"
                return found
            if after.tip is not world.tip and after.tip.event is not None:
                found.transitions.add((world.tip.state, after.tip.event))
            if not move.fault:
                healthy.setdefault(after, []).append(world)
    found.states = len(came)
    stuck = find_stuck(came, healthy)
    if stuck is not None:
        found.broken = f"can never come to an end\n{_tell(came, stuck)}"
    return found


def find_stuck(worlds: Iterable[World], healthy: dict[World, list[World]]) -> World | None:
    """A world from which no moves without bad luck lead to the job's end."""
    good = {world for world in worlds if world.tip.ended}
    edge = list(good)
    while edge:
        for before in healthy.get(edge.pop(), ()):
            if before not in good:
                good.add(before)
                edge.append(before)
    return next((world for world in worlds if world not in good), None)


def _tell(came: dict[World, tuple[World, str] | None], world: World) -> str:
    names: list[str] = []
    step = came[world]
    while step is not None:
        before, name = step
        names.append(name)
        step = came[before]
    return "\n".join(f"  {number}. {name}" for number, name in enumerate(reversed(names), 1))
