"""The cache of a bus may be lost, damaged or in use at any time, and nothing comes of it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bridge.bus.cache import Cache
from bridge.bus.remote import Outcome, Update
from bridge.errors import BusError, CacheError
from bridge.objects import GitObject, objects_from_bytes
from bridge.states import Event, State
from tests.actors import Actor, open_bus
from tests.damage import DAMAGE, empty, list_files
from tests.rawgit import RawGit
from tests.servers.transport import Remote, Transport

CLONES = ("tips.git", "jobs.git")


def clones_in(folder: Path) -> list[str]:
    """Those that are there: on the fast path one serves for both."""
    return [name for name in CLONES if (folder / name).is_dir()]


@pytest.fixture(scope="module", params=["file", "fast"])
def remote(request: pytest.FixtureRequest, serve: Callable[[str], Transport]) -> Remote:
    return serve(request.param).create()


@pytest.fixture
def actor(remote: Remote, tmp_path: Path) -> Iterator[Actor]:
    found = Actor(open_bus(remote.url, tmp_path / "cache"))
    yield found
    found.bus.close()


@pytest.fixture
def other(remote: Remote, tmp_path: Path, actor: Actor) -> Iterator[Actor]:
    found = Actor(open_bus(remote.url, tmp_path / "other", init=False))
    yield found
    found.bus.close()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_made_again(actor: Actor, other: Actor, kind: str) -> None:
    ref = actor.submit()
    seen = actor.bus.load(ref)
    assert ref in actor.bus.poll().jobs
    for name in clones_in(actor.bus.cache):
        DAMAGE[kind](actor.bus.cache / name)
    moved = other.advance(ref, Event.CLAIM)  # so that every clone has something to fetch
    assert actor.bus.poll().jobs[ref][1].oid == moved.tip
    assert actor.bus.load(ref) == moved
    for name in clones_in(actor.bus.cache):
        DAMAGE[kind](actor.bus.cache / name)
    assert actor.step(moved, Event.LOG) is Outcome.WON
    assert seen.request is not None
    assert actor.bus.find(seen.request.id) == ref
    assert other.bus.load(ref).state is State.RUNNING


def test_the_whole_folder_may_be_deleted_at_any_time(actor: Actor, other: Actor) -> None:
    ref = actor.submit()
    claimed = actor.advance(ref, Event.CLAIM)
    shutil.rmtree(actor.bus.cache)
    assert actor.step(claimed, Event.DONE, files={"report.md": b"# done\n"}) is Outcome.WON
    ended = actor.bus.load(ref)
    shutil.rmtree(actor.bus.cache)
    assert actor.bus.read(ended.files["report.md"]) == b"# done\n"
    shutil.rmtree(actor.bus.cache)
    assert actor.bus.identity() == other.bus.identity()
    assert ref in actor.bus.poll().jobs


def test_another_process_may_have_made_the_cache_again(remote: Remote, tmp_path: Path) -> None:
    one = Actor(open_bus(remote.url, tmp_path))
    two = Actor(open_bus(remote.url, tmp_path, init=False))
    ref = one.submit()
    chain = one.advance(ref, Event.CLAIM)
    assert two.bus.load(ref) == chain
    for name in clones_in(tmp_path):
        shutil.rmtree(tmp_path / name)
    two.bus.poll()
    two.bus.load(two.submit())
    assert one.bus.read(chain.files["request.json"]) == two.bus.read(chain.files["request.json"])
    one.bus.close()
    two.bus.close()


def test_a_commit_from_a_journal_needs_nothing_of_the_cache(actor: Actor, other: Actor) -> None:
    ref = actor.submit()
    chain = actor.advance(ref, Event.CLAIM)
    bulk = {"artifacts/bulk": b"x" * 400_000}
    assert actor.step(chain, Event.LOG, files=bulk) is Outcome.WON
    chain = actor.bus.load(ref)
    result = actor.compose(chain, Event.DONE, files={"evidence.json": b"{}"})
    oid, objects = objects_from_bytes(result.to_bytes())
    assert (oid, objects) == (result.oid, result.objects)
    # `other` has a cache in which neither the job nor the bulk has ever been
    assert other.bus.swap([Update(ref, chain.tip, result)]) == (Outcome.WON,)
    assert actor.bus.load(ref).state is State.DONE


def test_a_commit_on_a_tip_that_is_nowhere_any_more_is_lost(actor: Actor, other: Actor) -> None:
    ref = actor.submit()
    chain = actor.bus.load(ref)
    first = actor.compose(chain, Event.CLAIM)
    then = actor.compose(replace(chain, tip=first.oid, files=first.files), Event.LOG)
    mine = actor.submit()
    updates = [
        Update(ref, first.oid, then),  # stands on a claim that was never pushed
        Update(mine, chain_tip(actor, mine), actor.compose(actor.bus.load(mine), Event.CLAIM)),
    ]
    assert other.bus.swap(updates) == (Outcome.LOST, Outcome.WON)


def chain_tip(actor: Actor, ref: str) -> str:
    return actor.bus.load(ref).tip


def test_code_comes_from_a_damaged_cache_too(actor: Actor, remote: Remote) -> None:
    raw = RawGit(remote.path)
    commit = raw.commit({"a.py": b"print(1)\n"}, message="code")
    raw.point(actor.bus.refs.code(commit), commit)
    for damage in (lambda _: None, empty, shutil.rmtree):
        damage(actor.bus.cache / "code.git")
        git = actor.bus.fetch_code(commit)
        assert set(git.list_files(commit)) == {"a.py"}
        git.close()
    with pytest.raises(BusError):
        actor.bus.fetch_code("1" * 40)


def test_a_cache_in_use_is_waited_for_and_named(tmp_path: Path) -> None:
    holder, waiter = (Cache(tmp_path / "cache", timeout_s=0.05) for _ in range(2))
    with holder.hold(), pytest.raises(BusError, match="another process has held") as caught:
        waiter.work(lambda: None)
    assert caught.value.where == str(tmp_path / "cache")
    assert waiter.work(lambda: 7) == 7


def test_a_disk_that_stays_full_is_an_error_after_one_new_clone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", timeout_s=1)
    tried = []

    def work() -> None:
        tried.append(cache.jobs)
        raise CacheError("No space left on device", where=str(cache.jobs.path))

    with pytest.raises(CacheError, match="No space left"):
        cache.work(work)
    assert len(set(map(id, tried))) == 2
    cache.close()


# -- no more than is needed ------------------------------------------------------------------


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in list_files(folder))


@pytest.mark.parametrize("remote", ["file"], indirect=True)  # what is on the disk
def test_reading_on_fetches_only_what_is_new(actor: Actor, other: Actor) -> None:
    ref = actor.submit()
    actor.advance(ref, Event.CLAIM)
    for number in range(1, 4):
        noise = {f"logs/1-{number:06}.txt": secrets.token_bytes(100_000)}
        assert actor.step(actor.bus.load(ref), Event.LOG, files=noise) is Outcome.WON
    assert other.bus.load(ref).log_sequence == 3
    other.bus.poll()
    before = _bytes_below(other.bus.cache)
    assert before > 300_000
    actor.advance(ref, Event.LOG)
    other.bus.poll()
    assert other.bus.load(ref).log_sequence == 4
    assert _bytes_below(other.bus.cache) - before < 30_000


@pytest.mark.parametrize("remote", ["file"], indirect=True)  # what is on the disk
def test_an_idle_poll_asks_for_no_object(
    actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        actor.submit()
    actor.bus.poll()
    monkeypatch.setenv("GIT_TRACE_PACKET", str(tmp_path / "packets"))
    actor.bus.poll()
    packets = (tmp_path / "packets").read_text()
    assert "ref-prefix refs/heads/kakeya/job/" in packets
    assert "want " not in packets


@pytest.mark.parametrize("remote", ["file"], indirect=True)  # what is on the disk
def test_a_clone_of_too_many_packs_is_made_again(actor: Actor) -> None:
    ref = actor.submit()
    actor.bus.poll()
    chain = actor.bus.load(ref)
    for name in clones_in(actor.bus.cache):
        packs = actor.bus.cache / name / "objects" / "pack"
        for number in range(500):
            (packs / f"pack-{number}.keep").touch()
    assert ref in actor.bus.poll().jobs
    assert actor.bus.read(chain.files["request.json"])
    assert actor.bus.load(ref) == chain
    for name in clones_in(actor.bus.cache):
        assert len(list_files(actor.bus.cache / name / "objects" / "pack")) < 100


def test_a_closed_bus_leaves_no_process_and_no_descriptor(remote: Remote, tmp_path: Path) -> None:
    here = psutil.Process()
    before = (here.num_fds(), {child.pid for child in here.children(recursive=True)})
    for number in range(3):
        actor = Actor(open_bus(remote.url, tmp_path / str(number)))
        actor.advance(actor.submit(), Event.CLAIM, Event.DONE)
        actor.bus.poll()
        actor.bus.close()
    after = (here.num_fds(), {child.pid for child in here.children(recursive=True)})
    assert after == before


# -- the caller's own repository -----------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RawGit:
    """A person's checkout, half merged, that the process stands in."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    raw = RawGit(folder)
    raw.run("init", "--quiet")
    raw.run("-c", "user.name=a", "-c", "user.email=b", "commit", "--allow-empty", "-qm", "one")
    (folder / ".git" / "MERGE_HEAD").write_text(raw.tip("HEAD") + "\n")
    (folder / "dirty").write_text("work")
    monkeypatch.chdir(folder)
    return raw


def _state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in list_files(folder)}


def test_nothing_is_done_to_the_repository_that_the_caller_stands_in(
    actor: Actor, checkout: RawGit
) -> None:
    before = _state(checkout.path)
    ref = actor.submit()
    for name in clones_in(actor.bus.cache):
        shutil.rmtree(actor.bus.cache / name)
    assert actor.advance(ref, Event.CLAIM).state is State.CLAIMED
    actor.bus.poll()
    assert _state(checkout.path) == before


def test_the_variables_of_a_calling_git_lead_nowhere(
    remote: Remote, tmp_path: Path, checkout: RawGit, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = checkout.path / ".git"
    monkeypatch.setenv("GIT_DIR", str(inner))
    monkeypatch.setenv("GIT_WORK_TREE", str(checkout.path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(inner / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(inner / "objects"))
    before = _state(checkout.path)
    actor = Actor(open_bus(remote.url, tmp_path / "cache"))
    assert actor.advance(actor.submit(), Event.CLAIM).state is State.CLAIMED
    assert _state(checkout.path) == before
    actor.bus.close()


def test_the_cache_is_no_hiding_place_for_hooks(actor: Actor, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    for name in clones_in(actor.bus.cache):
        hooks = actor.bus.cache / name / "hooks"
        hooks.mkdir(exist_ok=True)
        for hook in ("pre-push", "post-fetch", "reference-transaction", "pre-auto-gc"):
            (hooks / hook).write_text(f"#!/bin/sh\ntouch {proof}\n")
            (hooks / hook).chmod(0o755)
    actor.advance(actor.submit(), Event.CLAIM)
    actor.bus.poll()
    assert not proof.exists()


@pytest.mark.parametrize("remote", ["file"], indirect=True)  # what is on the disk
def test_what_is_read_is_what_was_named(actor: Actor) -> None:
    git = actor.bus._cache.jobs
    blob = GitObject("blob", b"the truth")
    git.store([blob])
    loose = git.path / "objects" / blob.oid[:2] / blob.oid[2:]
    other = GitObject("blob", b"something else")
    git.store([other])
    loose.chmod(0o644)
    loose.write_bytes((git.path / "objects" / other.oid[:2] / other.oid[2:]).read_bytes())
    with pytest.raises(CacheError, match=r"is damaged|cannot be read"):
        git.read(blob.oid)
