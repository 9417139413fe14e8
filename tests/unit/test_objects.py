"""Git objects built in memory are the ones that git itself builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import IntegrityError
from bridge.objects import (
    GitObject,
    Identity,
    Prepared,
    build_commit,
    is_plain_path,
    objects_from_bytes,
    parse_commit,
    parse_tree,
)
from tests.rawgit import RawGit

WHO = Identity("Zoë O'Neil", "zoe@example.invalid")

# names whose order git decides in a way of its own: a folder sorts as if it ended in a slash
FILES = {
    "a": b"1",
    "a-b": b"2",
    "a.b/c": b"3",
    "a0": b"4",
    "ab/c": b"5",
    "ab/c-d": b"6",
    "ab/c.d/e": b"",
    "ab.": b"\0\xff",
    "größe/ünïcode 漢字": b"7",
    "with space/'quote\"": b"8",
    "z/y/x/w/v": b"9\n",
}


def _build(files: dict[str, bytes], message: str = "one\n\ntwo", **changes: object) -> Prepared:
    values: dict[str, object] = {"kept_files": {}, "parents": (), "author": WHO, "when_s": 1}
    return build_commit(files, message=message, **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def raw(tmp_path: Path) -> RawGit:
    git = RawGit(tmp_path)
    git.run("init", "--quiet", "--bare")
    return git


def _commit_by_git(raw: RawGit, files: dict[str, bytes], message: str) -> str:
    rows = "".join(
        f"100644 {raw.run('hash-object', '-w', '--stdin', data=data)}\t{path}\0"
        for path, data in files.items()
    )
    env = {"GIT_INDEX_FILE": str(raw.path / "scratch")}
    raw.run("update-index", "-z", "--index-info", data=rows.encode(), env=env)
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", WHO.name), ("EMAIL", WHO.email), ("DATE", "@1 +0000"))
    }
    tree = raw.run("write-tree", env=env)
    return raw.run("commit-tree", tree, data=f"{message}\n".encode(), env=who)


def test_a_commit_is_the_one_that_git_makes(raw: RawGit) -> None:
    ours = _build(FILES)
    assert ours.oid == _commit_by_git(raw, FILES, "one\n\ntwo")


def test_git_finds_nothing_wrong_with_what_is_built(raw: RawGit) -> None:
    first = _build(FILES)
    second = _build({"a": b"changed"}, kept_files=first.files, parents=[first.oid], message="x\n\n")
    for prepared in (first, second):
        for item in prepared.objects:
            assert raw.store(item.kind, item.data) == item.oid
    raw.point("refs/heads/main", second.oid)
    assert raw.run("fsck", "--strict", "--full", "--no-dangling") == ""
    rows = raw.run("ls-tree", "-r", "-z", second.oid).split("\0")
    listed = {row.split("\t")[1]: row.split("\t")[0].split(" ")[2] for row in rows if row}
    assert listed == second.files
    assert raw.run("rev-list", "--count", second.oid) == "2"


def test_only_what_is_new_is_in_the_objects() -> None:
    first = _build({"deep/a": b"1", "deep/b": b"2"})
    second = _build({"c": b"3"}, kept_files=first.files, parents=[first.oid])
    new = {item.oid for item in second.objects if item.kind == "blob"}
    assert new == {GitObject("blob", b"3").oid}
    assert set(second.files) == {"deep/a", "deep/b", "c"}


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".git/config", "a/.GIT/x", "git~1", "a/.git "],
)
def test_a_path_that_could_be_misread_is_no_path_of_a_commit(path: str) -> None:
    assert not is_plain_path(path)
    with pytest.raises(IntegrityError, match="cannot be a path"):
        _build({path: b""})


def test_a_path_is_a_file_or_a_folder() -> None:
    with pytest.raises(IntegrityError, match="'a' is a file and a folder"):
        _build({"a": b"", "a/b": b""})
    with pytest.raises(IntegrityError, match="'x' is a file and a folder"):
        _build({"d/x/y": b""}, kept_files={"d/x": "1" * 40})


def test_a_tree_is_read_as_git_lists_it(raw: RawGit) -> None:
    blob, tree = raw.store("blob", b"x"), raw.tree({})
    entries = {"a": ("100644", blob), "b": ("40000", tree), "l": ("120000", blob)}
    oid = raw.tree(entries)
    data = b"".join(
        mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(of)
        for name, (mode, of) in entries.items()
    )
    assert GitObject("tree", data).oid == oid
    assert parse_tree(data) == entries
    for cut in range(1, len(data)):
        try:
            assert len(parse_tree(data[:cut])) < len(entries)
        except IntegrityError:
            continue


def test_a_name_twice_is_no_tree() -> None:
    entry = b"100644 a\0" + bytes(20)
    with pytest.raises(IntegrityError, match="names 'a' twice"):
        parse_tree(entry * 2)


def test_a_commit_is_read_whatever_its_headers() -> None:
    data = (
        b"tree " + b"1" * 40 + b"\nparent " + b"2" * 40 + b"\nparent " + b"3" * 40 + b"\n"
        b"author a <b> 1 +0000\ncommitter a <b> 1 +0000\ngpgsig -----BEGIN\n parent no\n\nsubject\n"
        b"\nbody \xff\n"
    )
    tree, parents, message = parse_commit(data)
    assert (tree, parents) == ("1" * 40, ("2" * 40, "3" * 40))
    assert message == "subject\n\nbody \ufffd\n"
    assert parse_commit(b"\xff") == ("", (), "")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a <b> c", "a b c"), ("two\nlines", "twolines"), ("", "unknown"), (" \x00 ", "unknown")],
)
def test_nobody_writes_a_header_with_their_name(name: str, shown: str) -> None:
    line = Identity(name, "x@y>\nparent 1").line(7)
    assert line == f"{shown} <x@yparent 1> 7 +0000"


def test_a_journal_gives_back_what_was_put_in() -> None:
    prepared = _build({**FILES, "artifacts/bulk": bytes(range(256)) * 40})
    assert objects_from_bytes(prepared.to_bytes()) == (prepared.oid, prepared.objects)


def test_a_journal_that_was_cut_off_or_changed_is_refused() -> None:
    data = _build({"a": b"1", "b/c": b"2"}).to_bytes()
    for cut in range(len(data)):
        with pytest.raises(IntegrityError):
            objects_from_bytes(data[:cut])
    for at in range(len(data)):
        with pytest.raises(IntegrityError):
            objects_from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(IntegrityError):
        objects_from_bytes(data + b"x")
