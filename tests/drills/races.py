"""Two hands on one job at the same moment: one wins, and what the loser had is void."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

from bridge.bus.commits import compose_note, requester_identity, runner_identity
from bridge.bus.endings import Signer
from bridge.bus.remote import Outcome, Update
from bridge.records import Facts, Heartbeat, Resources
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.drills.field import Field
from tests.drills.table import ALL, Drill

ROUNDS = 10

A = TypeVar("A")
B = TypeVar("B")


def _at_once(one: Callable[[], A], two: Callable[[], B]) -> tuple[A, B]:
    """Both, begun at the same moment."""
    start = Barrier(2)

    def begin(action: Callable[[], A | B]) -> A | B:
        start.wait(timeout=60)
        return action()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(begin, one), pool.submit(begin, two)
        return first.result(), second.result()  # type: ignore[return-value]


@contextmanager
def _two(field: Field) -> Iterator[tuple[Actor, Actor]]:
    """Two parties with caches of their own, both through the transport."""
    actors = [
        Actor(open_bus(field.lab.url, field.lab.folder / name, init=False), name)
        for name in ("one", "two")
    ]
    try:
        yield actors[0], actors[1]
    finally:
        for actor in actors:
            actor.bus.close()


def _result_against(event: Event) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        field.strike()
        with _two(field) as (holder, other):
            for _ in range(ROUNDS):
                ref = holder.submit()
                field.refs.append(ref)
                chain = holder.advance(ref, Event.CLAIM)
                seen = other.bus.load(ref)
                outcomes = _at_once(
                    lambda chain=chain: holder.step(chain, Event.DONE),  # type: ignore[misc]
                    lambda seen=seen: other.step(seen, event),  # type: ignore[misc]
                )
                assert sorted(outcomes) == [Outcome.LOST, Outcome.WON], outcomes
                if not holder.bus.load(ref).ended:
                    holder.advance(ref, Event.CLAIM, Event.DONE)
        field.settle("done", "cancelled")

    return run


def _fold_against_heartbeat(field: Field) -> None:
    """The fold takes an ended job away while its runner beats and brings a late line of log."""
    field.strike()
    with _two(field) as (runner, folder):
        beat_ref, beat_tip = runner.bus.refs.heartbeat("one"), None
        for number in range(1, ROUNDS + 1):
            ref = runner.submit()
            field.refs.append(ref)
            held = runner.advance(ref, Event.CLAIM)
            folder.advance(ref, Event.CANCELLED)
            beat = compose_note(
                "heartbeat.json", _beat(number), "heartbeat", runner_identity("one"), WHEN_S
            )
            late = runner.compose(held, Event.LOG)
            updates = [Update(beat_ref, beat_tip, beat), Update(ref, held.tip, late)]
            signer = Signer("two", requester_identity("two"), samples.make_nonce(), WHEN_S)
            outcomes, folded = _at_once(
                lambda updates=updates: runner.bus.swap(updates),  # type: ignore[misc]
                lambda ref=ref, signer=signer: folder.bus.fold([ref], signer),  # type: ignore[misc]
            )
            assert outcomes == (Outcome.WON, Outcome.LOST)
            assert folded == (held.job.id,)
            assert runner.bus.peek(ref) is None
            beat_tip = beat.oid
    field.settle("cancelled")


def _beat(number: int) -> Heartbeat:
    room = Resources()
    facts = Facts(
        ("any",), room, room, samples.NOBODY, "merged", "process", ("local",), "linux", "0"
    )
    return Heartbeat("one", samples.make_nonce(), number, samples.make_nonce(), 1.0, facts)


DRILLS: tuple[Drill, ...] = (
    Drill("result against requeue", _result_against(Event.REQUEUE), over=ALL, brief=ALL),
    Drill("cancel against result", _result_against(Event.CANCELLED), over=ALL, brief=ALL),
    Drill("fold against late heartbeat and log", _fold_against_heartbeat, over=ALL),
)
