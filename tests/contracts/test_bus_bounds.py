"""A branch that is too large is refused by name, and stops neither its neighbours nor the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.bus.refs import JobRef, Refs
from bridge.bus.requester import RequesterBus
from bridge.errors import BusError, TooLargeError
from bridge.git import Git
from bridge.states import State
from tests import samples
from tests.actors import FAST, Actor, open_bus
from tests.rawgit import RawGit
from tests.servers.transport import Transport

_BOUND = 2**20


def _plant_flood(raw: RawGit, ref: str) -> None:
    """A branch of many files, each small enough for the filter of a job's fetch."""
    files = {f"{number}.bin": os.urandom(250_000) for number in range(8)}
    raw.point(ref, raw.commit(files, message="kakeya: request noop, by mallory"))


@pytest.mark.parametrize("allow_filter", [True, False])
def test_a_huge_branch_is_refused_by_name(
    transport: Transport, tmp_path: Path, allow_filter: bool
) -> None:
    remote = transport.create(allow_filter=allow_filter)
    honest = Actor(open_bus(remote.url, tmp_path / "honest"))
    small = honest.submit()
    huge = honest.bus.refs.job(JobRef("any", 5, samples.make_id()))
    _plant_flood(RawGit(remote.path), huge)
    bus = RequesterBus(
        remote.url, tmp_path / "cache", refs=Refs(), profile=FAST, max_job_bytes=_BOUND
    )
    with pytest.raises(TooLargeError) as caught:
        bus.load(huge)
    assert huge in caught.value.where
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < _BOUND
    (chain,) = bus.load_all([huge, small])  # by one fetch, and then one by one
    assert (chain.ref, chain.state) == (small, State.QUEUED)
    assert bus.load(small).state is State.QUEUED
    honest.bus.close()
    bus.close()


def test_the_bound_is_on_what_comes_not_on_what_is_there(
    transport: Transport, tmp_path: Path
) -> None:
    remote = transport.create()
    raw = RawGit(remote.path)
    raw.point("refs/heads/huge", raw.commit({"a": os.urandom(2 * _BOUND)}, message="huge"))
    cache = Git.create_cache(tmp_path / "cache", timeout_s=60)
    refspec = "+refs/heads/huge:refs/here"
    cache.fetch(remote.url, [refspec], object_filter="blob:none", max_bytes=_BOUND)
    with pytest.raises(TooLargeError, match="more than 1 MiB would come"):
        cache.fetch(remote.url, [refspec], again=True, max_bytes=_BOUND)
    assert not list((cache.path / "objects" / "pack").glob("tmp_*"))
    cache.fetch(remote.url, [refspec], again=True, max_bytes=3 * _BOUND)
    assert cache.is_sound()
    cache.close()


def test_a_bus_whose_commits_flood_every_poll_is_no_answer(
    transport: Transport, tmp_path: Path
) -> None:
    remote = transport.create()
    honest = Actor(open_bus(remote.url, tmp_path / "honest"))
    honest.submit()
    raw = RawGit(remote.path)
    words = os.urandom(_BOUND).hex()
    flood = raw.commit({}, message=f"kakeya: request noop, by mallory\n\n{words}")
    raw.point(honest.bus.refs.job(JobRef("any", 5, samples.make_id())), flood)
    bus = RequesterBus(
        remote.url, tmp_path / "cache", refs=Refs(), profile=FAST, max_poll_bytes=_BOUND
    )
    with pytest.raises(BusError, match="cannot be polled"):
        bus.poll()
    bus.close()
    honest.bus.close()
