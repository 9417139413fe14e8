"""Every move that somebody may make in a world: of the runners, the client, and of bad luck."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bridge.states import TERMINAL_EVENTS, Event, State
from tests.model.world import (
    CLIENT,
    LEASE_POLLS,
    MAX_ATTEMPTS,
    NOTHING,
    Commit,
    Push,
    Runner,
    World,
    land,
)

_IDLE = Runner()


class Rules(NamedTuple):
    """The protocol's rules, each of which can be taken away to see that this is found.

    Attributes:
        fencing: a runner whose step lost looks whether it holds the job still.
        own_clock: silence is counted in the watcher's own polls.
        compare_and_swap: results are pushed under a lease.
    """

    fencing: bool = True
    own_clock: bool = True
    compare_and_swap: bool = True


class Move(NamedTuple):
    """One step of the whole: its name, whether it is bad luck, and the world after it."""

    name: str
    fault: bool
    world: World


def list_moves(world: World, rules: Rules) -> Iterator[Move]:
    """Every move, each giving another world."""
    yield from _client_moves(world)
    for number, runner in enumerate(world.runners):
        if number == 1 and world.runners == (_IDLE, _IDLE):
            return  # they are alike: who moves first is called 0
        yield from _machine_moves(world, number, runner)
        if runner.alive and runner.push is not None:
            yield from _push_moves(world, number, runner, runner.push, rules)
        elif runner.alive:
            yield from _runner_moves(world, number, runner, rules)


def _with(world: World, number: int, runner: Runner) -> World:
    pair = (runner, world.runners[1]) if number == 0 else (world.runners[0], runner)
    return world._replace(runners=pair)


# -- the client ------------------------------------------------------------------------------


def _client_moves(world: World) -> Iterator[Move]:
    tip = world.tip
    if world.client is not None:
        landed, _ = land(world, world.client)
        yield Move("client pushes", False, landed._replace(client=None))
        if world.losses:
            yield Move("client's reply is lost", True, landed._replace(losses=world.losses - 1))
        return
    if tip is NOTHING:
        request = Push(NOTHING.add(Event.REQUEST, CLIENT))
        yield Move("client submits", False, world._replace(client=request))
    elif world.cancels and tip.state is State.QUEUED:
        push = Push(tip.add(Event.CANCELLED, CLIENT))
        yield Move("client cancels", False, world._replace(client=push, cancels=0))
    elif world.cancels and tip.held:
        yield Move("client wishes", False, world._replace(wish=True, cancels=0))
    elif world.wish and tip.held:
        push = Push(tip.add(Event.CANCELLED, CLIENT, 1, tip.claim))
        yield Move("client swaps the live tip", False, world._replace(client=push))


# -- machines --------------------------------------------------------------------------------


def _machine_moves(world: World, number: int, runner: Runner) -> Iterator[Move]:
    if runner.process == "runs":
        ended = runner._replace(process="ended")
        yield Move(f"job ends on {number}", False, _with(world, number, ended))
    kept = Runner(
        session=runner.session,
        letter=runner.letter,
        folder=runner.folder,
        process=runner.process,
    )
    if not runner.alive:
        again = kept._replace(session=runner.session + 1, push=runner.letter)
        yield Move(f"runner {number} starts again", False, _with(world, number, again))
    elif world.crashes:
        less = world._replace(crashes=world.crashes - 1)
        dead = kept._replace(alive=False)
        yield Move(f"runner {number} is killed", True, _with(less, number, dead))
        if runner.process == "runs":
            gone = dead._replace(process="gone")
            yield Move(f"machine {number} loses power", True, _with(less, number, gone))


# -- runners ---------------------------------------------------------------------------------


def _push_moves(
    world: World, number: int, runner: Runner, push: Push, rules: Rules
) -> Iterator[Move]:
    event = push.new.event
    force = not rules.compare_and_swap and event in TERMINAL_EVENTS
    landed, won = land(world, push, force=force)
    settled = _settle(landed, number, push, rules, won=won)
    yield Move(f"runner {number} pushes {event}", False, settled)
    if world.losses:
        lost = landed._replace(losses=world.losses - 1)
        yield Move(f"runner {number} loses the reply to {event}", True, lost)


def _settle(world: World, number: int, push: Push, rules: Rules, *, won: bool) -> World:
    """What a runner makes of the outcome of its push."""
    new = push.new
    runner = world.runners[number]._replace(push=None, letter=None)
    if new.session != runner.session:
        pass  # delivered for the session before: this one knows nothing of it
    elif won and new.event is Event.CLAIM:
        runner = runner._replace(hold=new, folder=new.attempt, process="runs")
    elif won and new.event is Event.LOG:
        runner = runner._replace(hold=new)
    elif won and runner.hold is not None and new.answers is runner.hold.claim:
        runner = runner._replace(hold=None, process="none", folder=0)
    elif not won and runner.hold is not None and new.parent is runner.hold:
        if rules.fencing:
            runner = runner._replace(hold=None, process="none", folder=0)
        else:
            assert new.event is not None
            again = world.tip.add(new.event, number, new.session, new.answers)
            runner = runner._replace(push=Push(again))
    return _with(world, number, runner)


def _runner_moves(world: World, number: int, runner: Runner, rules: Rules) -> Iterator[Move]:
    tip, claim = world.tip, world.tip.claim
    if tip.state is State.QUEUED and runner.hold is None:
        event = Event.CANCELLED if world.wish else Event.CLAIM
        new = tip.add(event, number, runner.session)
        yield _compose(world, number, runner, Push(new, kept=event is Event.CLAIM))
    if runner.hold is not None:
        yield from _holder_moves(world, number, runner, runner.hold)
    if claim is None or not tip.held:
        return
    if claim.by != number:
        yield from _watch(world, number, runner, rules)
    elif claim.session != runner.session and runner.hold is None:
        yield _resume(world, number, runner)


def _compose(world: World, number: int, runner: Runner, push: Push) -> Move:
    after = runner._replace(push=push, letter=push if push.kept else None)
    return Move(f"runner {number} composes {push.new.event}", False, _with(world, number, after))


def _holder_moves(world: World, number: int, runner: Runner, hold: Commit) -> Iterator[Move]:
    other = world.runners[1 - number]
    if hold.claim is world.tip.claim and (not other.fresh or other.quiet):
        heard = other._replace(fresh=True, quiet=0)  # beats that list another claim say nothing
        yield Move(f"runner {number} beats", False, _with(world, 1 - number, heard))
    if world.wish and runner.process in ("runs", "ended"):
        killed = runner._replace(process="killed")
        yield Move(f"runner {number} heeds the wish", False, _with(world, number, killed))
    if hold.state is State.CLAIMED and runner.process in ("runs", "ended"):
        log = hold.add(Event.LOG, number, runner.session, hold.claim)
        yield _compose(world, number, runner, Push(log))
    event = {
        "ended": Event.DONE,
        "killed": Event.CANCELLED,
        "gone": Event.REQUEUE if hold.attempt < MAX_ATTEMPTS else Event.FAILED,
    }.get(runner.process)
    if event is not None:
        new = hold.add(event, number, runner.session, hold.claim)
        yield _compose(world, number, runner, Push(new, kept=event in TERMINAL_EVENTS))


def _resume(world: World, number: int, runner: Runner) -> Move:
    """A claim of an earlier session: its job is adopted where it is known, else given back."""
    if runner.folder == world.tip.attempt:
        adopted = runner._replace(hold=world.tip)
        return Move(f"runner {number} adopts its job", False, _with(world, number, adopted))
    return _compose(world, number, runner, _reap(world, number, runner))


def _watch(world: World, number: int, runner: Runner, rules: Rules) -> Iterator[Move]:
    counted = 0 if runner.fresh else min(runner.watch + 1, LEASE_POLLS)
    quiet = min(runner.quiet + 1, LEASE_POLLS)
    seen = runner._replace(watch=counted, fresh=False, quiet=quiet)
    if counted >= LEASE_POLLS or not rules.own_clock:
        yield _compose(world, number, seen, _reap(world, number, seen))
    elif seen != runner:
        yield Move(f"runner {number} polls", False, _with(world, number, seen))


def _reap(world: World, number: int, runner: Runner) -> Push:
    tip = world.tip
    event = Event.REQUEUE if tip.attempt < MAX_ATTEMPTS else Event.LOST
    if world.wish:
        event = Event.CANCELLED
    return Push(tip.add(event, number, runner.session, tip.claim), quiet=runner.quiet)
