"""Git objects: commits as git builds them, journals and trees whole or refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import IntegrityError
from bridge.objects import GitObject, Identity, build_commit, objects_from_bytes, parse_tree
from tests.rawgit import RawGit
from tests.strategies import texts

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=20), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> RawGit:
    git = RawGit(tmp_path_factory.mktemp("raw"))
    git.run("init", "--quiet", "--bare")
    return git


_scratch = itertools.count()


@given(files=trees, message=texts)
@settings(max_examples=25)
def test_every_commit_is_the_one_that_git_builds(
    raw: RawGit, files: dict[str, bytes], message: str
) -> None:
    who = Identity("a", "b@c")
    try:
        commit = build_commit(
            files, kept_files={}, parents=(), message=message, author=who, when_s=5
        )
    except IntegrityError:
        return  # a path that is git's own, or a file that is a folder too
    by_oid = {item.oid: item for item in commit.objects}
    rows = b"".join(
        b"100644 %s\t%s\0" % (raw.store("blob", data).encode(), path.encode())
        for path, data in files.items()
    )
    env = {"GIT_INDEX_FILE": str(Path(raw.path) / f"scratch-{next(_scratch)}")}
    raw.run("update-index", "-z", "--index-info", data=rows, env=env)
    assert raw.run("write-tree", env=env) in by_oid
    for item in commit.objects:
        assert raw.store(item.kind, item.data) == item.oid
    raw.point("refs/heads/main", commit.oid)
    found = raw.run("fsck", "--strict", "--no-dangling")
    assert "error" not in found


@given(files=trees, data=st.data())
def test_a_journal_is_whole_or_refused(files: dict[str, bytes], data: st.DataObject) -> None:
    try:
        commit = build_commit(
            files, kept_files={}, parents=(), message="m", author=Identity("a", "b"), when_s=0
        )
    except IntegrityError:
        return
    journal = bytearray(commit.to_bytes())
    assert objects_from_bytes(bytes(journal)) == (commit.oid, commit.objects)
    at = data.draw(st.integers(0, len(journal) - 1))
    journal[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError):
        objects_from_bytes(bytes(journal))


@given(st.binary(max_size=80))
def test_no_bytes_of_a_tree_are_more_than_refused(data: bytes) -> None:
    try:
        entries = parse_tree(data)
    except IntegrityError:
        return
    rebuilt = b"".join(
        mode.encode("ascii", "replace")
        + b" "
        + name.encode("utf-8", "surrogateescape")
        + b"\0"
        + bytes.fromhex(oid)
        for name, (mode, oid) in entries.items()
    )
    assert len(rebuilt) == len(data)
    assert GitObject("tree", data).kind == "tree"
