"""A remote that says no, or not yet: told apart, in its own words, and never a claim held twice."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.errors import BusError
from bridge.states import Event, State
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.servers.smart_http import PASSWORD, USER
from tests.servers.transport import Remote, Transport

PROCESSES = 3


@pytest.fixture
def remote(serve: Callable[[str], Transport]) -> Remote:
    return serve("file").create()


@pytest.fixture
def actor(remote: Remote, tmp_path: Path) -> Iterator[Actor]:
    found = Actor(open_bus(remote.url, tmp_path / "cache"))
    yield found
    found.bus.close()


def _claim_at_once(url: str, cache: Path, ref: str, start: Any, outcomes: Any) -> None:
    actor = Actor(open_bus(url, cache, init=False), cache.name)
    chain = actor.bus.load(ref)
    start.wait(60)
    outcomes.put((cache.name, str(actor.step(chain, Event.CLAIM))))
    actor.bus.close()


def test_of_many_processes_exactly_one_wins(actor: Actor, remote: Remote, tmp_path: Path) -> None:
    ref = actor.submit()
    context = multiprocessing.get_context("spawn")
    start, outcomes = context.Barrier(PROCESSES), context.Queue()
    racers = [
        context.Process(
            target=_claim_at_once, args=(remote.url, tmp_path / f"r{number}", ref, start, outcomes)
        )
        for number in range(PROCESSES)
    ]
    for racer in racers:
        racer.start()
    said = dict(outcomes.get(timeout=120) for _ in racers)
    for racer in racers:
        racer.join(60)
    assert sorted(said.values()) == ["lost"] * (PROCESSES - 1) + ["won"]
    chain = actor.bus.load(ref)
    assert chain.claim is not None
    assert said[chain.claim.runner] == "won"


def test_a_lock_that_a_dead_server_left_is_waited_for(actor: Actor, remote: Remote) -> None:
    ref = actor.submit()
    chain = actor.bus.load(ref)
    lock = remote.path / f"{ref}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    pauses: list[float] = []
    actor.bus._pause = pauses.append
    claim = actor.compose(chain, Event.CLAIM)
    assert actor.bus.swap([Update(ref, chain.tip, claim)]) == (Outcome.UNSETTLED,)
    assert pauses == sorted(pauses)
    assert len(pauses) == 4
    assert actor.bus.load(ref).state is State.QUEUED
    actor.bus._pause = lambda _: lock.unlink(missing_ok=True)
    assert actor.bus.swap([Update(ref, chain.tip, claim)]) == (Outcome.WON,)
    assert actor.bus.load(ref).claim_oid == claim.oid


def test_a_hook_may_refuse_one_ref_of_a_push(actor: Actor, remote: Remote) -> None:
    refs = [actor.submit() for _ in range(2)]
    chains = [actor.bus.load(ref) for ref in refs]
    hook = remote.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ntest "$1" != {refs[1]} || {{ echo not this one >&2; exit 1; }}\n')
    hook.chmod(0o755)
    updates = [Update(c.ref, c.tip, actor.compose(c, Event.CLAIM)) for c in chains]
    with pytest.raises(BusError, match="not this one") as caught:
        actor.bus.swap(updates)
    assert refs[1] in str(caught.value)
    assert [actor.bus.load(ref).state for ref in refs] == [State.CLAIMED, State.QUEUED]
    hook.unlink()
    assert actor.bus.swap(updates) == (Outcome.WON, Outcome.WON)


@pytest.mark.parametrize(
    ("transport_name", "variant", "words"),
    [
        ("http", "read-only", "403"),
        ("http", "locked", "Authentication failed"),
        ("fast", "read-only", "403"),
        ("fast", "locked", "Authentication failed"),
        ("ssh", "stranger", "remote repository"),
    ],
)
def test_a_door_that_is_closed_is_told_with_the_key(
    serve: Callable[[str], Transport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    transport_name: str,
    variant: str,
    words: str,
) -> None:
    transport = serve(transport_name)
    for name, value in transport.client_env.items():
        monkeypatch.setenv(name, value)
    remote = transport.create()
    open_bus(remote.url, tmp_path / "open").close()
    bus = open_bus(
        f"{transport.variants[variant]}/{remote.path.name}", tmp_path / "closed", init=False
    )
    pauses: list[float] = []
    bus._pause = pauses.append
    request = compose_request(samples.make_request(samples.make_id()), when_s=WHEN_S)
    ref = bus.refs.job(JobRef("any", 5, samples.make_id()))
    with pytest.raises(BusError, match=words) as caught:
        bus.swap([Update(ref, None, request)])
    assert "credentials" in caught.value.remedy or "may push" in caught.value.remedy
    assert pauses == []
    bus.close()


@pytest.mark.parametrize("transport_name", ["http", "fast"])
def test_a_program_that_answers_for_the_person_is_asked(
    serve: Callable[[str], Transport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    transport_name: str,
) -> None:
    transport = serve(transport_name)
    for name, value in transport.client_env.items():
        monkeypatch.setenv(name, value)
    program = tmp_path / "askpass"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in Username*) echo {USER};; *) echo {PASSWORD};; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("GIT_ASKPASS", str(program))
    url = f"{transport.variants['locked']}/{transport.create().path.name}"
    actor = Actor(open_bus(url, tmp_path / "cache"))
    assert actor.advance(actor.submit(), Event.CLAIM).state is State.CLAIMED
    assert not (actor.bus.fast and actor.bus.fast.surprises)
    actor.bus.close()
