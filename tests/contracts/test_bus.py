"""What a bus promises, on every way to reach a git remote."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from bridge import canonical, wire
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_note, compose_request, requester_identity
from bridge.bus.refs import JobRef, Refs
from bridge.bus.remote import GitBus, Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.errors import BusError, IntegrityError, KakeyaError, UsageError
from bridge.records import BusIdentity, CancelWish, KeyNote
from bridge.states import Event, State
from tests import samples
from tests.actors import FAST, WHEN_S, Actor, open_bus
from tests.rawgit import RawGit
from tests.servers.hung import silent_port
from tests.servers.transport import Remote, Transport

RACERS = 4


@pytest.fixture
def remote(transport: Transport) -> Remote:
    return transport.create()


class Cast:
    """Actors on one remote, each with a cache of its own."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote = remote
        self._folder = folder
        self._buses: list[RequesterBus] = []

    def actor(self, name: str) -> Actor:
        bus = open_bus(self.remote.url, self._folder / name, init=not self._buses)
        self._buses.append(bus)
        return Actor(bus, name)

    def close(self) -> None:
        for bus in self._buses:
            bus.close()


@pytest.fixture
def cast(remote: Remote, tmp_path: Path) -> Iterator[Cast]:
    players = Cast(remote, tmp_path)
    yield players
    players.close()


def test_a_bus_gets_one_identity_for_ever(remote: Remote, tmp_path: Path) -> None:
    first = open_bus(remote.url, tmp_path / "a", init=False)
    with pytest.raises(UsageError, match="there is no bus below") as caught:
        first.identity()
    assert "bus init" in caught.value.remedy
    assert first.poll().jobs == {}
    made = first.create_identity(BusIdentity(samples.make_id(), "2026-01-02T03:04:05Z"), WHEN_S)
    second = open_bus(remote.url, tmp_path / "b")  # tries to give it another one
    assert second.identity() == made
    first.close()
    second.close()


def test_a_job_goes_from_request_to_result(cast: Cast) -> None:
    client, runner = cast.actor("client"), cast.actor("mac-m4")
    ref = client.submit(priority=3, params={"text": "größer", "n": 1})
    snapshot = runner.bus.poll()
    assert set(snapshot.jobs) == {ref}
    job, tip = snapshot.jobs[ref]
    assert (job.label, job.priority) == ("any", 3)
    assert tip.subject == "kakeya: request noop, by alice"

    chain = runner.bus.load(ref)
    assert (chain.state, chain.fault, chain.problems) == (State.QUEUED, None, ())
    chain = runner.advance(ref, Event.CLAIM)
    assert (chain.state, chain.claim_oid) == (State.CLAIMED, chain.tip)
    part = {"logs/1-000001.txt": b"hello\n"}
    assert runner.step(chain, Event.LOG, files=part) is Outcome.WON
    chain = runner.bus.load(ref)
    assert runner.bus.read(chain.files["logs/1-000001.txt"]) == b"hello\n"
    files = {"evidence.json": b"{}", "artifacts/plots/heat.png": b"\x89PNG\0"}
    assert runner.step(chain, Event.DONE, files=files) is Outcome.WON

    seen = client.bus.load(ref)
    assert (seen.state, seen.ended, seen.fault) == (State.DONE, True, None)
    assert [link.event for link in seen.links] == [
        Event.REQUEST,
        Event.CLAIM,
        Event.LOG,
        Event.DONE,
    ]
    assert seen.result is not None
    assert seen.result.request == seen.request_digest
    assert seen.request is not None
    assert canonical.thaw(seen.request.params) == {"text": "größer", "n": 1}
    assert client.bus.read(seen.files["artifacts/plots/heat.png"]) == b"\x89PNG\0"
    story = RawGit(cast.remote.path).run("log", "--format=%s", ref).splitlines()
    assert story == [
        "kakeya: done, attempt 1, by mac-m4",
        "kakeya: log, attempt 1, part 1, step 1 of 3",
        "kakeya: claim, attempt 1, by mac-m4",
        "kakeya: request noop, by alice",
    ]


def test_of_many_claimers_exactly_one_wins(cast: Cast) -> None:
    ref = cast.actor("client").submit()
    racers = [cast.actor(f"runner-{number}") for number in range(RACERS)]
    chains = [racer.bus.load(ref) for racer in racers]
    start = Barrier(RACERS)

    def race(racer: Actor, chain: Chain) -> Outcome:
        start.wait(timeout=60)
        return racer.step(chain, Event.CLAIM)

    with ThreadPoolExecutor(RACERS) as pool:
        outcomes = list(pool.map(race, racers, chains))
    assert sorted(outcomes) == [Outcome.LOST] * (RACERS - 1) + [Outcome.WON]
    winner = racers[outcomes.index(Outcome.WON)].name
    chain = racers[0].bus.load(ref)
    assert (len(chain.links), chain.fault) == (2, None)
    assert chain.claim is not None
    assert chain.claim.runner == winner


def test_a_requeued_claim_is_fenced_off(cast: Cast) -> None:
    sleeper, other = cast.actor("sleeper"), cast.actor("other")
    ref = sleeper.submit()
    asleep = sleeper.advance(ref, Event.CLAIM)
    queued = other.advance(ref, Event.REQUEUE)
    assert (queued.state, queued.attempt, queued.claim) == (State.QUEUED, 2, None)
    assert sleeper.step(asleep, Event.DONE) is Outcome.LOST
    claimed = other.advance(ref, Event.CLAIM)
    assert sleeper.step(asleep, Event.DONE) is Outcome.LOST
    # a zombie that looks again and pushes its old record anyway leaves a foreign commit
    late = samples.make_result(asleep)
    fresh = replace(claimed, claim_oid=asleep.claim_oid)
    assert sleeper.step(fresh, Event.DONE, late) is Outcome.WON
    disturbed = other.bus.load(ref)
    assert (disturbed.state, disturbed.head) == (State.CLAIMED, claimed.tip)
    assert disturbed.fault is not None
    assert "answers a claim that is not in force" in disturbed.fault
    ended = other.advance(ref, Event.DONE)
    assert (ended.state, ended.attempt, ended.fault) == (State.DONE, 2, None)


def test_a_cancel_wish_is_made_once(cast: Cast) -> None:
    client, runner = cast.actor("client"), cast.actor("mac-m4")
    ref = client.submit()
    chain = runner.advance(ref, Event.CLAIM)
    digest = chain.request_digest
    assert digest is not None
    wishes = [CancelWish(chain.job.id, digest, by, samples.make_nonce()) for by in ("alice", "bob")]
    wish_ref = client.bus.refs.wish(chain.job.id)
    outcomes = [
        client.bus.swap(
            [
                Update(
                    wish_ref,
                    None,
                    compose_note(
                        "cancel.json", wish, "cancel", requester_identity(wish.by), WHEN_S
                    ),
                )
            ]
        )
        for wish in wishes
    ]
    assert outcomes == [(Outcome.WON,), (Outcome.LOST,)]
    assert set(runner.bus.poll().wishes) == {wish_ref}
    assert runner.bus.load_wish(wish_ref) == wishes[0]
    ended = runner.advance(ref, Event.CANCELLED)
    assert ended.state is State.CANCELLED
    assert client.bus.swap([Update(wish_ref, client.bus.peek(wish_ref).oid, None)]) == (  # type: ignore[union-attr]
        Outcome.WON,
    )
    assert client.bus.peek(wish_ref) is None


def test_a_lost_reply_is_not_a_lost_commit(cast: Cast) -> None:
    before, after = cast.actor("mac-m4"), cast.actor("reborn")
    ref = before.submit()
    chain = before.bus.load(ref)
    claim = before.compose(chain, Event.CLAIM)
    update = Update(ref, chain.tip, claim)
    assert before.bus.swap([update]) == (Outcome.WON,)
    # the process dies before it hears of it; the next one has the commit from its journal alone
    assert after.bus.swap([update]) == (Outcome.WON,)
    before.advance(ref, Event.LOG)
    assert after.bus.swap([update]) == (Outcome.WON,)
    assert len(after.bus.load(ref).links) == 3


def test_several_refs_are_swapped_by_one_push(cast: Cast) -> None:
    runner, rival = cast.actor("mac-m4"), cast.actor("rival")
    refs = [runner.submit() for _ in range(3)]
    chains = [runner.bus.load(ref) for ref in refs]
    rival.advance(refs[1], Event.CLAIM)
    updates = [Update(c.ref, c.tip, runner.compose(c, Event.CLAIM)) for c in chains]
    assert runner.bus.swap(updates) == (Outcome.WON, Outcome.LOST, Outcome.WON)
    assert runner.bus.swap([]) == ()


def test_an_atomic_swap_stands_or_falls_whole(cast: Cast) -> None:
    first, second = cast.actor("alice"), cast.actor("bob")
    key = first.bus.refs.key("0" * 64)

    def submit(actor: Actor) -> tuple[str, tuple[Outcome, ...]]:
        request = samples.make_request(actor.bus.identity().id)
        note = KeyNote(request.id, wire.manifest_digest(request), samples.make_nonce())
        author = requester_identity(actor.name)
        ref = actor.bus.refs.job(JobRef(request.label, request.priority, request.id))
        updates = [
            Update(ref, None, compose_request(request, when_s=WHEN_S)),
            Update(key, None, compose_note("key.json", note, "key", author, WHEN_S)),
        ]
        return ref, actor.bus.swap(updates, atomic=True)

    taken, outcomes = submit(first)
    assert outcomes == (Outcome.WON, Outcome.WON)
    refused, outcomes = submit(second)
    assert outcomes == (Outcome.LOST, Outcome.LOST)
    assert set(second.bus.poll().jobs) == {taken}
    assert second.bus.peek(refused) is None


def test_a_deleted_ref_is_gone_everywhere(cast: Cast) -> None:
    client, runner = cast.actor("client"), cast.actor("mac-m4")
    ref = client.submit()
    chain = runner.bus.load(ref)
    assert set(runner.bus.poll().jobs) == {ref}
    RawGit(cast.remote.path).run("update-ref", "-d", ref)
    assert runner.bus.poll().jobs == {}
    assert runner.bus.peek(ref) is None
    assert runner.bus.find(chain.job.id) is None
    with pytest.raises(KakeyaError, match=r"is gone|couldn't find remote ref"):
        runner.bus.load(ref)
    assert runner.step(chain, Event.CLAIM) is Outcome.LOST


def test_a_large_file_stays_away_until_it_is_asked_for(cast: Cast) -> None:
    client, runner = cast.actor("client"), cast.actor("mac-m4")
    ref = client.submit()
    claimed = runner.advance(ref, Event.CLAIM)
    bulk = bytes(range(256)) * 1600
    assert runner.step(claimed, Event.DONE, files={"artifacts/bulk": bulk}) is Outcome.WON
    seen = client.bus.load(ref)
    assert (seen.state, seen.fault) == (State.DONE, None)
    oid = seen.files["artifacts/bulk"]
    with pytest.raises(IntegrityError, match="is not here"):
        client.bus.read(oid)
    client.bus.fetch_files([oid])
    assert client.bus.read(oid) == bulk
    other = cast.actor("other")
    other.bus.load(ref)
    assert other.bus.read(other.bus.load(ref, object_filter=None).files["artifacts/bulk"]) == bulk


def test_a_server_that_cannot_filter_works_too(transport: Transport, tmp_path: Path) -> None:
    remote = transport.create(allow_filter=False)
    actor = Actor(open_bus(remote.url, tmp_path))
    ref = actor.submit()
    assert set(actor.bus.poll().jobs) == {ref}
    chain = actor.advance(ref, Event.CLAIM, Event.DONE)
    assert (chain.state, chain.fault) == (State.DONE, None)
    actor.bus.close()


def test_a_server_that_speaks_only_protocol_0_works_too(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as sshd does by default, which lets no GIT_PROTOCOL through
    for name, value in (("COUNT", "1"), ("KEY_0", "protocol.version"), ("VALUE_0", "0")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    remote = transport.create()
    bus = open_bus(remote.url, tmp_path, init=False)
    assert bus.poll().jobs == {}
    bus.create_identity(BusIdentity(samples.make_id(), "2026-01-02T03:04:05Z"), WHEN_S)
    actor = Actor(bus)
    ref = actor.submit()
    assert set(bus.poll().jobs) == {ref}
    bulk = b"x" * 400_000
    assert actor.step(actor.advance(ref, Event.CLAIM), Event.DONE, files={"bulk": bulk}) == "won"
    other = open_bus(remote.url, tmp_path / "other", init=False)
    oid = other.load(ref).files["bulk"]
    other.fetch_files([oid])
    assert other.read(oid) == bulk
    other.close()
    raw = RawGit(remote.path)
    for name in (ref, bus.refs.ledger):
        raw.run("update-ref", "-d", name)
    assert bus.poll().jobs == {}
    bus.close()


def test_a_wrong_address_is_told_clearly(transport: Transport, tmp_path: Path) -> None:
    url = f"{transport.address}/no-such-bus.git"
    bus = open_bus(url, tmp_path, init=False)
    for ask in (bus.poll, bus.identity):
        with pytest.raises(BusError) as caught:
            ask()
        assert caught.value.where == url
        assert "check the address" in caught.value.remedy
    bus.close()


def test_a_hook_that_says_no_is_quoted(cast: Cast) -> None:
    client = cast.actor("client")
    client.submit()
    hook = cast.remote.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'only below the prefix of alice' >&2\nexit 1\n")
    hook.chmod(0o755)
    pauses: list[float] = []
    client.bus._pause = pauses.append
    with pytest.raises(BusError, match="only below the prefix of alice") as caught:
        client.submit()
    assert "may push" in caught.value.remedy
    assert pauses == []  # a rule is not tried four times


def test_the_whole_protocol_stays_below_one_prefix(transport: Transport, tmp_path: Path) -> None:
    remote, root = transport.create(), "refs/heads/agents/alice-7/kakeya"
    hook = remote.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ncase "$1" in {root}/*) exit 0;; esac\nexit 1\n')
    hook.chmod(0o755)
    inside = Actor(open_bus(remote.url, tmp_path / "in", root=root))
    ref = inside.submit()
    chain = inside.advance(ref, Event.CLAIM, Event.LOG, Event.DONE)
    assert (chain.state, chain.ref.startswith(root)) == (State.DONE, True)
    with pytest.raises(BusError, match="hook declined"):
        open_bus(remote.url, tmp_path / "out")
    inside.bus.close()


@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
def test_a_server_that_never_answers_is_given_up(scheme: str, tmp_path: Path) -> None:
    profile = replace(FAST, network_timeout_s=0.5)
    with silent_port() as port:
        url = f"{scheme}://127.0.0.1:{port}/bus.git"
        bus = GitBus(url, tmp_path, refs=Refs(), profile=profile)
        with pytest.raises(BusError, match=r"no answer within 0\.5 s") as caught:
            bus.poll()
        assert (caught.value.where, "network" in caught.value.remedy) == (url, True)
        request = compose_request(samples.make_request(samples.make_id()), when_s=WHEN_S)
        with pytest.raises(BusError, match=r"no answer within 0\.5 s"):
            bus.swap([Update(bus.refs.job(JobRef("any", 5, samples.make_id())), None, request)])
        bus.close()
