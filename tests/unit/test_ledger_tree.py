"""Where the ledger keeps things: paths, and trees that grow along their spine. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import canonical, wire
from bridge.bus.entry import ENTRY, kept_files, make_entry, restore_chain
from bridge.bus.spine import entry_path, graft, key_path
from bridge.errors import IntegrityError
from bridge.objects import GitObject, build_files, parse_tree
from bridge.states import Event
from tests import samples
from tests.actors import Actor
from tests.memory_chain import MemoryChain

BUS = samples.make_id()


def test_the_path_of_an_entry_is_the_time_in_its_id() -> None:
    job_id = canonical.make_ulid(1_767_323_045_000, b"0123456789")
    assert entry_path(job_id) == ("2026", "01", "02", "03", job_id)
    last = canonical.make_ulid(2**48 - 1, b"0123456789")
    assert entry_path(last)[:4] == ("9999", "12", "31", "23")


def test_the_path_of_a_key_begins_with_its_first_digits() -> None:
    assert key_path("abc" + "0" * 61) == ("key", "a", "b", "c", "abc" + "0" * 61)


paths = st.lists(st.sampled_from("abc"), min_size=3, max_size=3).map(tuple)
blobs = st.binary(max_size=3).map(lambda data: GitObject("blob", data))


@given(st.lists(st.dictionaries(paths, blobs, max_size=4), min_size=1, max_size=4))
def test_grafts_in_turn_are_one_tree_of_everything(
    steps: list[dict[tuple[str, ...], GitObject]],
) -> None:
    store: dict[str, bytes] = {}
    root: str | None = None
    files: dict[str, str] = {}
    for step in steps:
        leaves = {path: ("100644", blob.oid) for path, blob in step.items()}
        root, trees = graft(root, leaves, store.__getitem__)
        store |= {tree.oid: tree.data for tree in trees}
        files |= {"/".join(path): blob.oid for path, blob in step.items()}
    assert root == build_files({}, files)[0]


def test_a_graft_reads_no_more_than_the_way_to_its_leaf() -> None:
    first, trees = graft(None, {("x", "y", "1"): ("100644", "1" * 40)}, {}.__getitem__)
    second, more = graft(
        first,
        {("z", "1"): ("100644", "2" * 40)},
        {first: next(tree.data for tree in trees if tree.oid == first)}.__getitem__,
    )
    (top,) = [tree for tree in more if tree.oid == second]
    assert set(parse_tree(top.data)) == {"x", "z"}


def test_a_file_in_the_way_is_told() -> None:
    root, trees = graft(None, {("x",): ("100644", "1" * 40)}, {}.__getitem__)
    store = {tree.oid: tree.data for tree in trees}
    with pytest.raises(IntegrityError, match="a file where the folder 'x' belongs"):
        graft(root, {("x", "y"): ("100644", "1" * 40)}, store.__getitem__)


class TestEntry:
    def setup_method(self) -> None:
        self.memory = MemoryChain(samples.make_request(BUS))
        actor = Actor(None, "mac-m4")  # type: ignore[arg-type]  # composes alone
        for event in (Event.CLAIM, Event.LOG, Event.DONE):
            files = {"logs/1-000001.txt": b"x"} if event is Event.LOG else {}
            self.memory.append(actor.compose(self.memory.read(), event, files=files))
        # as the ledger's reader names it
        job = self.memory.job
        ref = f"refs/heads/kakeya/job/{job.label}/{job.priority}{job.id}"
        self.chain = replace(self.memory.read(), ref=ref)
        self.entry = make_entry(self.chain, "refs/heads/kakeya/archive/2026-01-02")

    def test_a_chain_comes_back_without_its_log(self) -> None:
        entry = wire.parse("entry", wire.to_bytes(self.entry))
        files = kept_files(self.chain)
        assert (ENTRY in files, "logs/1-000001.txt" in files) == (False, False)
        again = restore_chain(entry, self.memory.job, files, self.memory.blob, bus_id=BUS)
        links = tuple(link for link in self.chain.links if link.event is not Event.LOG)
        wanted = replace(
            self.chain,
            links=links,
            files=files,
            archive=entry.archive,
            log_sequence=0,
            progress=None,
            strict=False,  # said by the request's commit, which the ledger does not keep
        )
        assert again == wanted
        assert entry.chunks == 1

    def test_a_result_of_another_request_is_refused(self) -> None:
        other = MemoryChain(samples.make_request(BUS, id=self.memory.job.id))
        files = {**kept_files(self.chain), "request.json": other.read().files["request.json"]}
        read = {**{oid: self.memory.blob(oid) for oid in kept_files(self.chain).values()}}
        read[files["request.json"]] = other.blob(files["request.json"])
        with pytest.raises(IntegrityError, match="bound to another request"):
            restore_chain(self.entry, self.memory.job, files, read.__getitem__, bus_id=BUS)

    def test_an_entry_without_a_result_is_refused(self) -> None:
        files = {"request.json": self.chain.files["request.json"]}
        with pytest.raises(IntegrityError, match="holds no result"):
            restore_chain(self.entry, self.memory.job, files, self.memory.blob, bus_id=BUS)
