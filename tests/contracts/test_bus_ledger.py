"""Ended jobs in the ledger, on every way to reach a git remote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from bridge import wire
from bridge.bus.commits import compose_note, compose_request, requester_identity
from bridge.bus.endings import Signer
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.bus.spine import entry_path
from bridge.errors import IntegrityError
from bridge.git import FastGit
from bridge.records import CancelWish, KeyNote
from bridge.states import Event, State
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.rawgit import RawGit
from tests.servers.transport import Remote, Transport

DAY_S = 86_400
ENDED = (Event.CLAIM, Event.LOG, Event.DONE)


def sign(by: str = "mac-m4", when_s: int = WHEN_S) -> Signer:
    return Signer(by, requester_identity(by), samples.make_nonce(), when_s)


class Cast:
    """Actors on one remote, each with a cache of its own."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote = remote
        self.raw = RawGit(remote.path)
        self._folder = folder
        self._buses: list[RequesterBus] = []

    def actor(self, name: str) -> Actor:
        bus = open_bus(self.remote.url, self._folder / name, init=not self._buses)
        self._buses.append(bus)
        return Actor(bus, name)

    def ended(self, actor: Actor, count: int = 1) -> list[str]:
        """Jobs with a log, done."""
        refs = [actor.submit() for _ in range(count)]
        for ref in refs:
            chain = actor.advance(ref, Event.CLAIM)
            part = {"logs/1-000001.txt": f"output of {ref}\n".encode()}
            assert actor.step(chain, Event.LOG, files=part) is Outcome.WON
            files = {"evidence.json": b"{}\n", "artifacts/plots/heat.png": b"\x89PNG\0"}
            assert actor.step(actor.bus.load(ref), Event.DONE, files=files) is Outcome.WON
        return refs

    def refs(self) -> set[str]:
        return set(self.raw.run("for-each-ref", "--format=%(refname)").splitlines())

    def close(self) -> None:
        for bus in self._buses:
            bus.close()


@pytest.fixture
def cast(transport: Transport, tmp_path: Path) -> Iterator[Cast]:
    players = Cast(transport.create(), tmp_path)
    yield players
    players.close()


def id_of(actor: Actor, ref: str) -> str:
    job = actor.bus.refs.parse_job(ref)
    assert job is not None
    return job.id


def test_a_folded_job_is_read_as_before(cast: Cast) -> None:
    runner, client = cast.actor("mac-m4"), cast.actor("client")
    refs = cast.ended(runner, 3)
    waiting = runner.submit()
    before = client.bus.load(refs[0])
    folded = runner.bus.fold([*refs, waiting], sign())
    assert folded == tuple(sorted(id_of(runner, ref) for ref in refs))
    root = runner.bus.refs.root
    shelf = f"{root}/archive/2025-10-09"
    assert cast.refs() == {waiting, runner.bus.refs.ledger, shelf}
    assert set(client.bus.poll().jobs) == {waiting}

    after = client.bus.load(refs[0])
    assert client.bus.find(before.job.id) == refs[0]
    assert (after.state, after.fault, after.archive) == (State.DONE, None, shelf)
    assert (after.result, after.request, after.claim) == (
        before.result,
        before.request,
        before.claim,
    )
    assert (after.tip, after.head, after.attempt) == (before.tip, before.head, before.attempt)
    assert [link for link in before.links if link.event is not Event.LOG] == list(after.links)
    assert set(before.files) - set(after.files) == {"logs/1-000001.txt"}
    oid = after.files["artifacts/plots/heat.png"]
    client.bus.fetch_files([oid])
    assert client.bus.read(oid) == b"\x89PNG\0"

    whole = client.bus.load_whole(refs[0])
    assert whole.links == before.links
    assert client.bus.read(whole.files["logs/1-000001.txt"]).startswith(b"output of")
    cast.raw.run("fsck", "--strict", "--connectivity-only")


def test_a_second_fold_adds_to_the_first(cast: Cast) -> None:
    runner, client = cast.actor("mac-m4"), cast.actor("client")
    first, second = cast.ended(runner), cast.ended(runner)
    assert len(runner.bus.fold(first, sign())) == 1
    assert len(client.bus.fold(second, sign("client"))) == 1
    assert runner.bus.fold(first, sign()) == ()
    ids = [id_of(runner, ref) for ref in [*first, *second]]
    assert client.bus.ledger.holds([*ids, samples.make_id()]) == frozenset(ids)
    assert [chain.job.id for chain in client.bus.roll.newest()] == sorted(ids, reverse=True)
    assert runner.bus.load_whole(first[0]).links[2].event is Event.LOG
    assert client.bus.identity() == runner.bus.identity()


def test_of_two_folders_one_wins_and_the_other_has_done_nothing(cast: Cast) -> None:
    folders = [cast.actor("mac-m4"), cast.actor("h200")]
    refs = cast.ended(folders[0], 4)
    start = Barrier(2)

    def fold(actor: Actor) -> tuple[str, ...]:
        start.wait(timeout=60)
        return actor.bus.fold(refs, sign(actor.name))

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(fold, folders))
    ids = tuple(sorted(id_of(folders[0], ref) for ref in refs))
    assert sorted(outcomes) == [(), ids]
    assert folders[0].bus.ledger.holds(ids) == frozenset(ids)
    assert len(cast.raw.run("log", "--format=%s", folders[0].bus.refs.ledger).splitlines()) == 2


def test_a_job_that_moved_since_it_was_read_is_not_folded(cast: Cast) -> None:
    """The lease of every deleted ref is the tip that was judged."""
    runner, other = cast.actor("mac-m4"), cast.actor("other")
    (ref,) = cast.ended(runner)
    chain = runner.bus.load(ref)
    stray = cast.raw.commit({"x": b"x"}, message="late", parents=[chain.tip])
    before = cast.refs()
    real = runner.bus.load_all
    runner.bus.load_all = lambda refs: (real(refs), cast.raw.point(ref, stray))[0]  # type: ignore
    assert runner.bus.fold([ref], sign()) == ()
    assert cast.refs() == before
    assert other.bus.fold([ref], sign()) == (chain.job.id,)
    folded = other.bus.load(ref)
    assert (folded.state, folded.tip, folded.head) == (State.DONE, stray, chain.tip)
    assert folded.fault is not None


def test_keys_and_wishes_go_with_their_job(cast: Cast) -> None:
    runner, client = cast.actor("mac-m4"), cast.actor("client")
    request = samples.make_request(runner.bus.identity().id)
    ref = runner.bus.refs.job(JobRef(request.label, request.priority, request.id))
    note = KeyNote(request.id, wire.manifest_digest(request), samples.make_nonce())
    digest = "ab" * 32
    key_ref, wish_ref = runner.bus.refs.key(digest), runner.bus.refs.wish(request.id)
    alice = requester_identity("alice")
    commit = compose_note("key.json", note, f"key of {request.id}, by alice", alice, WHEN_S)
    updates = [
        Update(ref, None, compose_request(request, when_s=WHEN_S)),
        Update(key_ref, None, commit),
    ]
    assert runner.bus.swap(updates, atomic=True)[0] is Outcome.WON
    other_key = runner.bus.refs.key("cd" * 32)
    other = compose_note("key.json", note, "key of nobody", alice, WHEN_S)
    chain = runner.advance(ref, Event.CLAIM)
    wish = CancelWish(request.id, chain.request_digest or "", "alice", samples.make_nonce())
    wished = compose_note("cancel.json", wish, "cancel", alice, WHEN_S)
    runner.bus.swap([Update(wish_ref, None, wished), Update(other_key, None, other)])
    runner.advance(ref, Event.CANCELLED)
    assert client.bus.load_key(key_ref) == note
    assert runner.bus.fold([ref], sign()) == (request.id,)
    assert {key_ref, wish_ref, ref} & cast.refs() == set()
    assert other_key in cast.refs()
    assert client.bus.load_key(key_ref) == note
    assert client.bus.load_key(runner.bus.refs.key("ef" * 32)) is None


def test_a_step_whose_reply_was_lost_is_found_in_the_ledger(cast: Cast) -> None:
    runner, folder = cast.actor("mac-m4"), cast.actor("h200")
    ref = runner.submit()
    request_tip = runner.bus.load(ref).tip
    chain = runner.advance(ref, Event.CLAIM)
    done = runner.compose(chain, Event.DONE)
    assert runner.bus.swap([Update(ref, chain.tip, done)]) == (Outcome.WON,)
    assert len(folder.bus.fold([ref], sign())) == 1
    # both heard nothing of their pushes, and ask again
    assert runner.bus.swap([Update(ref, chain.tip, done)]) == (Outcome.WON,)
    again = compose_request(replace(chain.request, nonce="f" * 16), when_s=WHEN_S)  # type: ignore
    late = runner.compose(replace(chain, tip=request_tip), Event.CLAIM)
    assert runner.bus.swap([Update(ref, request_tip, late)]) == (Outcome.LOST,)
    assert ref not in cast.refs()
    assert again.oid != request_tip


def test_logs_go_when_their_archive_is_expired(cast: Cast) -> None:
    runner, client = cast.actor("mac-m4"), cast.actor("client")
    old, new = cast.ended(runner), cast.ended(runner)
    runner.bus.fold(old, sign())
    runner.bus.fold(new, sign(when_s=WHEN_S + 3 * DAY_S))
    gone = runner.bus.expire("2025-10-11")
    assert gone == (runner.bus.refs.archive("2025-10-09"),)
    cast.raw.run("gc", "--quiet", "--prune=now")
    assert client.bus.load(old[0]).state is State.DONE
    without = client.bus.load_whole(old[0])
    assert (without.archive, "logs/1-000001.txt" in without.files) == (gone[0], False)
    assert "logs/1-000001.txt" in client.bus.load_whole(new[0]).files
    oid = without.files["evidence.json"]
    assert client.bus.read(oid) == b"{}\n"


def test_a_ref_that_is_nowhere_is_an_integrity_error(cast: Cast) -> None:
    client = cast.actor("client")
    ref = client.submit()
    cast.raw.run("update-ref", "-d", ref)
    with pytest.raises(IntegrityError, match="gone and the ledger does not hold"):
        client.bus.load(ref)


def test_a_ledger_of_hostile_hands_is_told_and_harms_nobody(cast: Cast) -> None:
    """Whoever may push may write what they like there: an entry must be what it says."""
    runner, client = cast.actor("mac-m4"), cast.actor("client")
    good, bad = cast.ended(runner), cast.ended(runner)
    runner.bus.fold([*good, *bad], sign())
    raw, ledger = cast.raw, runner.bus.refs.ledger
    path = "/".join(entry_path(id_of(runner, bad[0])))
    index = {"GIT_INDEX_FILE": str(cast.remote.path / "scratch")}
    raw.run("read-tree", ledger, env=index)
    note = raw.store("blob", b'{"schema":"kakeya.entry/1"}')
    raw.run("update-index", "--cacheinfo", f"100644,{note},{path}/entry.json", env=index)
    tree = raw.run("write-tree", env=index)
    raw.point(ledger, raw.commit(tree, message="improved", parents=[raw.tip(ledger)]))
    with pytest.raises(IntegrityError, match="ledger's entry cannot be read"):
        client.bus.load(bad[0])
    assert client.bus.load(good[0]).ended
    assert [chain.ref for chain in client.bus.roll.newest()] == good
    chain = replace(runner.bus.load(good[0]), ref=bad[0])
    assert runner.step(chain, Event.REQUEUE, samples.make_requeue(chain)) is Outcome.LOST
    fresh = cast.ended(runner)
    assert len(runner.bus.fold(fresh, sign())) == 1


def test_reading_one_entry_does_not_bring_the_others(cast: Cast) -> None:
    runner, client = cast.actor("mac-m4"), cast.actor("client")
    refs = cast.ended(runner, 4)
    runner.bus.fold(refs, sign())
    assert client.bus.load(refs[0]).ended
    spine = _kinds(client.bus, "ledger.git")
    assert (spine["commit"], spine["blob"]) == (1, 1)  # bus.json
    assert spine["tree"] <= 6  # the top, the year, month, day, hour
    files = _kinds(client.bus, "jobs.git")
    assert files["commit"] == 0
    assert files["blob"] <= 8  # one entry's


def _kinds(bus: RequesterBus, name: str) -> Counter[str]:
    clone = bus._cache.clone(name)
    if isinstance(clone, FastGit):
        return Counter(item.kind for item in clone._objects.values())
    arguments = ("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
    return Counter(RawGit(clone.path).run(*arguments).split())
