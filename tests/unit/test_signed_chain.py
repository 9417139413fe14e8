"""Chains whose steps are signed: what counts, what is named as a fault, what is only shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import wire
from bridge.bus.binding import MAX_FAULTS
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_request, compose_step, requester_identity
from bridge.bus.entry import kept_files, make_entry, restore_chain
from bridge.bus.standing import SIGNED_STEPS, Fault, Standing, Word
from bridge.objects import GitObject, Identity, Prepared, parse_commit
from bridge.signers import Keyring
from bridge.states import Event, State
from tests import samples
from tests.actors import WHEN_S
from tests.keys import Hand, enrol, make_hand
from tests.memory_chain import MemoryChain

_PLAIN = Identity("kakeya runner mac-m4", "mac-m4@kakeya.invalid")


@pytest.fixture
def mac(tmp_path: Path) -> Hand:
    return make_hand(tmp_path, "mac-m4")


@pytest.fixture
def h200(tmp_path: Path) -> Hand:
    return make_hand(tmp_path, "h200")


@pytest.fixture
def job() -> MemoryChain:
    return MemoryChain(samples.make_request(samples.make_id()))


def step(chain: Chain, event: Event, author: Identity, runner: str = "mac-m4") -> Prepared:
    """One step of a chain, by an author in a runner's name."""
    makers: dict[Event, Callable[[], object]] = {
        Event.CLAIM: lambda: samples.make_claim(chain, runner),
        Event.LOG: lambda: samples.make_log(chain),
        Event.REQUEUE: lambda: samples.make_requeue(chain, runner),
    }
    record = makers.get(event, lambda: samples.make_result(chain, event, by=runner))()
    log = {f"logs/1-{chain.log_sequence + 1:06d}.txt": b"a line\n"} if event is Event.LOG else None
    return compose_step(chain, event, record, author=author, when_s=WHEN_S, files=log)  # type: ignore[arg-type]


def advance(
    job: MemoryChain, keyring: Keyring, author: Identity, *events: Event, runner: str = "mac-m4"
) -> Chain:
    for event in events:
        job.append(step(job.read(keyring), event, author, runner))
    return job.read(keyring)


def test_an_enrolled_runner_takes_a_job_to_its_end(job: MemoryChain, mac: Hand) -> None:
    ring = enrol(mac, required=True)
    chain = advance(job, ring, mac.identity, Event.CLAIM, Event.LOG, Event.LOG, Event.DONE)
    assert (chain.state, chain.fault, chain.faults) == (State.DONE, None, ())
    assert chain.standing is not None
    assert (chain.standing.word, chain.standing.runner) == (Word.ENROLLED, "mac-m4")
    assert chain.standing.key == mac.key.fingerprint


def test_a_runner_that_is_not_enrolled_is_shown_as_such(job: MemoryChain, mac: Hand) -> None:
    chain = advance(job, Keyring(), mac.identity, Event.CLAIM, Event.DONE)
    assert chain.state is State.DONE
    assert chain.standing is not None
    assert chain.standing.word is Word.UNENROLLED
    assert "not enrolled" in str(chain.standing)


def test_an_old_chain_without_signatures_shows_as_unsigned(mac: Hand) -> None:
    """Also where its runner was enrolled since: a list says nothing of the time before it."""
    request = samples.make_request(samples.make_id())
    job = MemoryChain(request)
    old = compose_request(request, when_s=WHEN_S)
    text = old.objects[-1].data.replace(SIGNED_STEPS.encode() + b"\n", b"")
    commit = GitObject("commit", text)
    job.commits = []
    job.append(replace(old, oid=commit.oid, objects=(*old.objects[:-1], commit)))
    for ring in (Keyring(), enrol(mac), enrol(mac, required=True)):
        chain = advance(job, ring, _PLAIN, *([] if job.read(ring).ended else _WHOLE))
        assert (chain.state, chain.faults) == (State.DONE, ())
        assert chain.standing is not None
        assert chain.standing.word is Word.UNSIGNED


_WHOLE = [Event.CLAIM, Event.LOG, Event.DONE]
_AFTER = {
    Event.CLAIM: State.CLAIMED,
    Event.LOG: State.RUNNING,
    Event.DONE: State.DONE,
    Event.FAILED: State.FAILED,
}


@pytest.mark.parametrize("event", [Event.CLAIM, Event.LOG, Event.DONE, Event.FAILED])
def test_a_step_without_a_signature_is_forged(job: MemoryChain, mac: Hand, event: Event) -> None:
    ring = enrol(mac)
    if event is not Event.CLAIM:
        advance(job, ring, mac.identity, Event.CLAIM)
    before = job.read(ring)
    after = advance(job, ring, _PLAIN, event)
    assert (after.state, after.head, after.fault_kind) == (before.state, before.head, Fault.FORGED)
    assert "not signed" in (after.fault or "")
    assert after.faults == (after.fault,)
    # the last valid holder writes over it, and says so
    over = advance(job, ring, mac.identity, event)
    assert (over.state, over.fault) == (_AFTER[event], None)
    assert over.faults == (after.fault,)
    assert f"writes over {after.fault}" in job.commits[-1].message


def test_another_runners_key_is_forged(job: MemoryChain, mac: Hand, h200: Hand) -> None:
    ring = enrol(mac, h200)
    chain = advance(job, ring, h200.as_runner("mac-m4"), Event.CLAIM)
    assert (chain.state, chain.fault_kind) == (State.QUEUED, Fault.FORGED)
    assert "signed with the key of 'h200'" in (chain.fault or "")
    advance(job, ring, mac.identity, Event.CLAIM)
    chain = advance(job, ring, h200.as_runner("mac-m4"), Event.DONE)
    assert (chain.state, chain.fault_kind) == (State.CLAIMED, Fault.FORGED)


def test_a_key_that_nobody_knows_is_forged_under_an_enrolled_name(
    job: MemoryChain, mac: Hand, tmp_path: Path
) -> None:
    thief = make_hand(tmp_path, "mac-m4")
    chain = advance(job, enrol(mac), thief.identity, Event.CLAIM)
    assert (chain.state, chain.fault_kind) == (State.QUEUED, Fault.FORGED)
    assert "not enrolled for it" in (chain.fault or "")


def test_another_key_than_the_claims_is_forged_where_nobody_is_enrolled(
    job: MemoryChain, mac: Hand, tmp_path: Path
) -> None:
    thief = make_hand(tmp_path, "mac-m4")
    advance(job, Keyring(), mac.identity, Event.CLAIM)
    chain = advance(job, Keyring(), thief.identity, Event.DONE)
    assert (chain.state, chain.fault_kind) == (State.CLAIMED, Fault.FORGED)
    assert advance(job, Keyring(), mac.identity, Event.DONE).state is State.DONE


def test_a_changed_commit_is_forged(job: MemoryChain, mac: Hand) -> None:
    ring = enrol(mac)
    made = step(job.read(ring), Event.CLAIM, mac.identity)
    data = made.objects[-1].data.replace(b"attempt 1", b"attempt  1", 1)
    commit = GitObject("commit", data)
    job.append(replace(made, oid=commit.oid, objects=(*made.objects[:-1], commit)))
    chain = job.read(ring)
    assert (chain.state, chain.fault_kind) == (State.QUEUED, Fault.FORGED)
    assert "does not fit" in (chain.fault or "")


def _restand(made: Prepared, parent: str) -> Prepared:
    """The same commit on another parent, its signature kept."""
    data = made.objects[-1].data
    old = parse_commit(data)[1][0]
    commit = GitObject("commit", data.replace(old.encode(), parent.encode(), 1))
    return replace(made, oid=commit.oid, objects=(*made.objects[:-1], commit))


def test_a_step_of_another_job_is_replayed(job: MemoryChain, mac: Hand) -> None:
    ring = enrol(mac)
    other = MemoryChain(samples.make_request(samples.make_id()))
    advance(other, ring, mac.identity, Event.CLAIM)
    result = step(other.read(ring), Event.DONE, mac.identity)
    claim = step(MemoryChain(other.request).read(ring), Event.CLAIM, mac.identity)
    for made in (claim, result):
        job.append(_restand(made, job.read(ring).tip))
        chain = job.read(ring)
        assert (chain.state, chain.fault_kind) == (State.QUEUED, Fault.REPLAYED), chain.fault


def test_a_step_at_another_place_of_its_own_job_is_moved(job: MemoryChain, mac: Hand) -> None:
    ring = enrol(mac)
    claimed = advance(job, ring, mac.identity, Event.CLAIM)
    early = step(claimed, Event.DONE, mac.identity)
    logged = advance(job, ring, mac.identity, Event.LOG)
    job.append(_restand(replace(early, files={**logged.files, **early.files}), logged.tip))
    chain = job.read(ring)
    assert (chain.state, chain.fault_kind) == (State.RUNNING, Fault.MOVED)
    assert f"signed to stand on {claimed.tip[:12]}" in (chain.fault or "")


def test_rotation_leaves_old_steps_valid(job: MemoryChain, mac: Hand, tmp_path: Path) -> None:
    """A job that was claimed with the old key and ended with the new one, after a restart."""
    newer = make_hand(tmp_path, "mac-m4")
    ring = enrol(mac, newer, required=True)
    advance(job, ring, mac.identity, Event.CLAIM, Event.LOG)
    chain = advance(job, ring, newer.identity, Event.LOG, Event.DONE)
    assert (chain.state, chain.faults) == (State.DONE, ())
    assert chain.standing is not None
    assert chain.standing.word is Word.ENROLLED


def test_a_revoked_key_signs_nothing_whatever_the_date(
    job: MemoryChain, mac: Hand, tmp_path: Path
) -> None:
    newer = make_hand(tmp_path, "mac-m4")
    advance(job, enrol(mac), mac.identity, Event.CLAIM, Event.DONE)
    ring = enrol(mac, newer, revoked=(mac,))
    chain = job.read(ring)
    assert (chain.state, chain.ended) == (State.QUEUED, False)
    assert "revoked key" in chain.faults[0]
    assert advance(job, ring, newer.identity, Event.CLAIM, Event.DONE).state is State.DONE


def test_where_only_enrolled_runners_count_others_are_passed_over(
    job: MemoryChain, mac: Hand, h200: Hand
) -> None:
    ring = enrol(mac, required=True)
    for author in (h200.identity, Identity("kakeya runner h200", "h200@kakeya.invalid")):
        chain = advance(job, ring, author, Event.CLAIM, runner="h200")
        assert (chain.state, chain.fault_kind) == (State.QUEUED, Fault.FORGED)
        assert "require_enrolled" in (chain.fault or "")
    assert advance(job, ring, mac.identity, *_WHOLE).state is State.DONE


@pytest.mark.parametrize("event", [Event.CANCELLED, Event.REQUEUE, Event.LOST])
def test_what_anybody_may_write_needs_no_signature(
    job: MemoryChain, mac: Hand, event: Event
) -> None:
    ring = enrol(mac, required=True)
    advance(job, ring, mac.identity, Event.CLAIM)
    chain = advance(job, ring, requester_identity("alice"), event, runner="alice")
    assert (chain.fault, chain.standing) == (None, None)
    assert chain.state is (State.QUEUED if event is Event.REQUEUE else State(event.value))


def test_a_rejection_is_a_runners_own(job: MemoryChain, mac: Hand) -> None:
    ring = enrol(mac)
    chain = advance(job, ring, _PLAIN, Event.REJECTED)
    assert (chain.state, chain.fault_kind) == (State.QUEUED, Fault.FORGED)
    chain = advance(job, ring, mac.identity, Event.REJECTED)
    assert chain.standing is not None
    assert (chain.state, chain.standing.word) == (State.REJECTED, Word.ENROLLED)


@pytest.mark.parametrize("events", [_WHOLE, [Event.CLAIM, Event.DONE], [Event.REJECTED]])
def test_the_ledger_keeps_what_the_end_was_signed_with(
    job: MemoryChain, mac: Hand, events: list[Event]
) -> None:
    ring = enrol(mac)
    chain = advance(job, ring, mac.identity, *events)
    entry = wire.parse("entry", wire.to_bytes(make_entry(chain, "refs/x/archive")))

    def restore(keyring: Keyring, **changes: Any) -> Standing:
        again = restore_chain(
            replace(entry, **changes),
            job.job,
            kept_files(chain),
            job.blob,
            bus_id=job.bus_id,
            keyring=keyring,
        )
        assert again.standing is not None
        assert again.state is chain.state
        return again.standing

    assert restore(ring) == chain.standing
    assert restore(Keyring()).word is Word.UNENROLLED
    assert restore(ring, seal=None).word is Word.UNSIGNED
    revoked = restore(enrol(mac, revoked=(mac,)))
    assert revoked.word is Word.VOID
    assert "revoked" in str(revoked)
    other = restore(ring, seal=replace(entry.seal, tree="AAAA"))
    assert other.word is Word.VOID
    other = restore(ring, seal=replace(entry.seal, tree=""))
    assert "not over these files" in str(other)
    payload = entry.seal.payload.replace("attempt", "Attempt", 1)
    assert restore(ring, seal=replace(entry.seal, payload=payload)).word is Word.VOID


def test_a_flood_of_moved_commits_is_passed_over(job: MemoryChain, mac: Hand) -> None:
    """Each is named while few are; the job goes on after any number of them."""
    ring = enrol(mac)
    claimed = advance(job, ring, mac.identity, Event.CLAIM)
    early = step(claimed, Event.DONE, mac.identity)
    logged = advance(job, ring, mac.identity, Event.LOG)
    early = replace(early, files={**logged.files, **early.files})
    for _ in range(MAX_FAULTS + 5):
        job.append(_restand(early, job.read(ring).tip))
    chain = job.read(ring)
    assert (chain.state, len(chain.faults)) == (State.RUNNING, MAX_FAULTS)
    assert chain.fault_kind is Fault.FORGED
    assert "moved" in chain.faults[0]
    assert advance(job, ring, mac.identity, Event.DONE).state is State.DONE
