"""A job, two runners and a client as values, and the rule by which a push lands.

What a commit holds is left out; who wrote it, on top of what and for which claim, is kept. Steps
are judged by the shipped table (`bridge.states`). Time is left out too: a runner that sleeps is
one whose turn does not come, and silence is counted in the watcher's own polls.
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.errors import IntegrityError
from bridge.states import HELD_STATES, TERMINAL_STATES, Event, State, next_state

CLIENT = 2
MAX_ATTEMPTS = 2
LEASE_POLLS = 2
"""Polls without a sign of life after which a watcher reaps."""


class Commit:
    """One commit with all before it: two are the same object if they are the same history.

    Attributes:
        parent: the commit before, None for the one that stands for no ref.
        by, session: who wrote it: a runner's number or CLIENT, and which life of it.
        answers: the claim that it says it answers.
        state, claim, attempt: where the job stands here, the hold in force, the attempt.
        fault: why the table does not allow it, '' where it does.
    """

    def __init__(
        self,
        parent: Commit | None = None,
        event: Event | None = None,
        by: int = CLIENT,
        session: int = 0,
        answers: Commit | None = None,
    ) -> None:
        self.parent, self.event, self.by, self.session = parent, event, by, session
        self.answers, self.fault = answers, ""
        self.depth = parent.depth + 1 if parent else 0
        self.state: State | None = parent.state if parent else None
        self.claim: Commit | None = parent.claim if parent else None
        self.attempt: int = parent.attempt if parent else 1
        self._children: dict[tuple[Event, int, int, Commit | None], Commit] = {}
        if event is None:
            return
        try:
            self.state = next_state(self.state, event)
        except IntegrityError as error:
            self.fault = error.message
        if event is Event.CLAIM:
            self.claim = self
        elif event is Event.REQUEUE:
            self.claim, self.attempt = None, self.attempt + 1

    def add(self, event: Event, by: int, session: int = 0, answers: Commit | None = None) -> Commit:
        """The commit on top of this one, the same whenever the same is asked for."""
        key = (event, by, session, answers)
        if key not in self._children:
            self._children[key] = Commit(self, event, by, session, answers)
        return self._children[key]

    def descends(self, other: Commit) -> bool:
        """Whether `other` is this one or behind it."""
        here: Commit | None = self
        while here is not None and here.depth > other.depth:
            here = here.parent
        return here is other

    @property
    def held(self) -> bool:
        """Whether a runner holds the job."""
        return self.state in HELD_STATES

    @property
    def ended(self) -> bool:
        """Whether the job has its end."""
        return self.state in TERMINAL_STATES


NOTHING = Commit()


class Push(NamedTuple):
    """A commit on its way; `quiet` is what its reaper had truly seen."""

    new: Commit
    kept: bool = False
    quiet: int = 0


class Runner(NamedTuple):
    """One runner: what it has in memory, and what its disk and its machine have.

    Attributes:
        push: in memory, not settled yet.
        letter: the same on disk, where it must outlive the process.
        hold: the tip of the job that it believes to hold.
        folder: attempt whose folder is on its disk, 0 for none.
        process: the job's process there: none, runs, ended, killed or gone.
        watch: polls without a sign of life that it has counted.
        fresh: a sign of life came since its last poll.
        quiet: polls that it has truly made since the last sign of life; checked, never read.
    """

    alive: bool = True
    session: int = 0
    push: Push | None = None
    letter: Push | None = None
    hold: Commit | None = None
    folder: int = 0
    process: str = "none"
    watch: int = 0
    fresh: bool = True
    quiet: int = 0


class World(NamedTuple):
    """Everything: the job's tip, the wish, the actors, and the faults that may still come."""

    tip: Commit = NOTHING
    wish: bool = False
    runners: tuple[Runner, Runner] = (Runner(), Runner())
    client: Push | None = None
    cancels: int = 1
    crashes: int = 1
    losses: int = 1
    broken: str = ""


def judge(old: Commit, push: Push) -> str:
    """What is wrong with this push having landed, '' if nothing: the invariants."""
    new = push.new
    if old.ended:
        return f"{new.event} after the end"
    if new.parent is not old:
        return f"history was rewritten by {new.event}"
    if new.fault:
        return f"a step does not count: {new.fault}"
    if new.event not in (Event.REQUEST, Event.CLAIM) and new.answers is not old.claim:
        return f"a step does not count: {new.event} answers a claim that is not in force"
    if old.claim is not None and new.by not in (old.claim.by, CLIENT) and push.quiet < LEASE_POLLS:
        return f"{new.event}: reaped {push.quiet} polls after a sign of life"
    return ""


def land(world: World, push: Push, *, force: bool = False) -> tuple[World, bool]:
    """The world after a push, and whether the pusher won: exactly the bus's own rule."""
    if world.tip.descends(push.new):
        return world, True
    if world.tip is not push.new.parent and not force:
        return world, False
    one, two = (runner._replace(watch=0, fresh=True, quiet=0) for runner in world.runners)
    fault = judge(world.tip, push)
    return world._replace(tip=push.new, runners=(one, two), broken=fault), True
