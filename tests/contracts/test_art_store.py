"""Artifacts at refs of their own, on every server: what comes back is what its name says."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from bridge.bus.art import PART_BYTES, Owner
from bridge.bus.artifacts import ArtLimits, ArtStore, Stored
from bridge.bus.refs import Refs
from bridge.errors import IntegrityError, KakeyaError, MissingArtifactError, TooLargeError
from bridge.objects import Identity
from tests import samples
from tests.actors import WHEN_S
from tests.rawgit import RawGit
from tests.servers.transport import Remote, Transport

_MIB = 2**20
_AUTHOR = Identity("kakeya runner mac-m4", "mac-m4@kakeya.invalid")


def make_store(url: str, folder: Path, said: list[str] | None = None, **limits: int) -> ArtStore:
    """A store with a cache of its own."""
    words = [] if said is None else said
    return ArtStore(
        url, Refs(), folder, timeout_s=60.0, limits=ArtLimits(**limits), say=words.append
    )


def put(store: ArtStore, folder: Path, data: bytes, **owner: str) -> Stored:
    """Put `data` by way of a file."""
    path = folder / "content"
    path.write_bytes(data)
    with path.open("rb") as file:
        return put_file(store, file, **owner)


def put_file(store: ArtStore, file: IO[bytes], **owner: str) -> Stored:
    """Put an open file as an artifact of some job."""
    values = {"kind": "artifact", "job": samples.make_id(), "detail": "", **owner}
    return store.put(file, Owner(**values), _AUTHOR, WHEN_S)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 5, PART_BYTES, PART_BYTES + 1])
def test_what_was_put_comes_back(transport: Transport, tmp_path: Path, size: int) -> None:
    remote = transport.create()
    data = os.urandom(size)
    stored = put(make_store(remote.url, tmp_path / "a"), tmp_path, data)
    assert (stored.sha256, stored.bytes) == (f"sha256:{sha256_of(data)}", size)
    assert stored.ref == f"refs/heads/kakeya/art/{sha256_of(data)}"
    other = make_store(remote.url, tmp_path / "b")
    assert other.get(stored.sha256, tmp_path / "back") == size
    assert (tmp_path / "back").read_bytes() == data
    assert not list((tmp_path / "a").iterdir())  # no clone is left
    assert not list((tmp_path / "b").iterdir())


def test_the_same_content_is_put_once(transport: Transport, tmp_path: Path) -> None:
    remote = transport.create()
    first = put(make_store(remote.url, tmp_path / "a"), tmp_path, b"the same")
    second = put(make_store(remote.url, tmp_path / "b"), tmp_path, b"the same")
    assert second == first  # the other job's commit stays as it was
    assert RawGit(remote.path).tip(first.ref) == first.oid


def test_of_a_job_its_checkpoints_alone_are_discarded(transport: Transport, tmp_path: Path) -> None:
    remote = transport.create()
    raw, store = RawGit(remote.path), make_store(remote.url, tmp_path / "a")
    job, other = samples.make_id(), samples.make_id()
    whole = put(store, tmp_path, b"an artifact", job=job)
    one, two = (
        put(store, tmp_path, data, kind="checkpoint", job=job, detail="attempt 1, step 2")
        for data in (b"one", b"two")
    )
    elsewhere = put(store, tmp_path, b"other", kind="checkpoint", job=other, detail="step 1")
    assert store.discard(job, {one.sha256, whole.sha256}) == 1
    with pytest.raises(MissingArtifactError, match="holds no artifact of this digest"):
        store.get(one.sha256, tmp_path / "back")
    assert store.discard(job) == 1
    left = raw.run("for-each-ref", "--format=%(refname)", "refs/heads/kakeya/art/").split()
    assert sorted(left) == sorted([whole.ref, elsewhere.ref])
    assert two.ref not in left
    assert store.discard(job) == 0


# -- hostile refs --------------------------------------------------------------------------


@pytest.fixture
def remote(serve: Callable[[str], Transport]) -> Iterator[Remote]:
    return serve("file").create()


def note_of(data: bytes, size: int | None = None, store: str = "parts") -> bytes:
    text = f'"schema":"kakeya.art/1","sha256":"sha256:{sha256_of(data)}","store":"{store}"'
    return f'{{"bytes":{len(data) if size is None else size},{text}}}\n'.encode()


def plant(raw: RawGit, data: bytes, tree: dict[str, tuple[str, str]]) -> str:
    """Let the ref of `data` hold a tree that a stranger made."""
    commit = raw.commit(raw.tree(tree), message=f"kakeya: artifact of {samples.make_id()}, sha256")
    raw.point(f"refs/heads/kakeya/art/{sha256_of(data)}", commit)
    return commit


def part(raw: RawGit, data: bytes, name: str = "0000", mode: str = "100644") -> tuple[str, str]:
    return ("40000", raw.tree({name: (mode, raw.store("blob", data))}))


def note(raw: RawGit, data: bytes) -> tuple[str, str]:
    return ("100644", raw.store("blob", data))


_WANTED = b"the content that was asked for"
_HOSTILE: dict[str, tuple[Callable[[RawGit], dict[str, tuple[str, str]]], str]] = {
    "other content": (
        lambda raw: {"art.json": note(raw, note_of(_WANTED)), "parts": part(raw, b"x" * 30)},
        "what lies there is not",
    ),
    "shorter content": (
        lambda raw: {"art.json": note(raw, note_of(_WANTED)), "parts": part(raw, b"x")},
        "what lies there is not",
    ),
    "longer content": (
        lambda raw: {"art.json": note(raw, note_of(_WANTED)), "parts": part(raw, _WANTED + b"!")},
        "what lies there is not",
    ),
    "no record": (lambda raw: {"parts": part(raw, _WANTED)}, "its files are"),
    "another record": (
        lambda raw: {"art.json": note(raw, note_of(b"other")), "parts": part(raw, _WANTED)},
        "its record speaks of",
    ),
    "a record of rubbish": (
        lambda raw: {"art.json": note(raw, b"{]"), "parts": part(raw, _WANTED)},
        "its record cannot be read",
    ),
    "a huge record": (
        lambda raw: {"art.json": note(raw, b" " * 5000), "parts": part(raw, _WANTED)},
        "is a blob of 5000 bytes",
    ),
    "a symlink for a part": (
        lambda raw: {
            "art.json": note(raw, note_of(_WANTED)),
            "parts": part(raw, b"/etc/passwd", mode="120000"),
        },
        "0000 has mode 120000",
    ),
    "a tree of symlinks": (
        lambda raw: {
            "a": ("120000", raw.store("blob", b"/etc")),
            "b": ("120000", raw.store("blob", b".")),
        },
        "its files are",
    ),
    "a submodule": (
        lambda raw: {"art.json": note(raw, note_of(_WANTED)), "parts": ("160000", "1" * 40)},
        "its files are",
    ),
    "a part by another name": (
        lambda raw: {"art.json": note(raw, note_of(_WANTED)), "parts": part(raw, _WANTED, "..")},
        "its files are",
    ),
    "more parts than content": (
        lambda raw: {"art.json": note(raw, note_of(_WANTED, 10**15)), "parts": part(raw, _WANTED)},
        "it says that it has",
    ),
    "a pointer elsewhere": (
        lambda raw: {
            "art.json": note(raw, note_of(_WANTED, store="lfs")),
            "content": note(
                raw,
                b"version https://git-lfs.github.com/spec/v1\n"
                b"oid sha256:%s\nsize 30\n" % (b"0" * 64),
            ),
        },
        "its LFS pointer is none",
    ),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_hostile_ref_is_refused_by_name(name: str, remote: Remote, tmp_path: Path) -> None:
    make, reason = _HOSTILE[name]
    plant(RawGit(remote.path), _WANTED, make(RawGit(remote.path)))
    store = make_store(remote.url, tmp_path / "a")
    with pytest.raises(IntegrityError, match=reason) as caught:
        store.get(f"sha256:{sha256_of(_WANTED)}", tmp_path / "back")
    assert sha256_of(_WANTED) in caught.value.where
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]  # nothing was written


def test_who_has_the_content_replaces_what_is_not_it(remote: Remote, tmp_path: Path) -> None:
    raw, said = RawGit(remote.path), list[str]()
    make, _ = _HOSTILE["other content"]
    planted = plant(raw, _WANTED, make(raw))
    stored = put(make_store(remote.url, tmp_path / "a", said), tmp_path, _WANTED)
    assert raw.tip(stored.ref) == stored.oid != planted
    assert "held something else" in said[0]
    assert make_store(remote.url, tmp_path / "b").get(stored.sha256, tmp_path / "back") == 30


def test_a_ref_that_is_no_commit_is_replaced_too(remote: Remote, tmp_path: Path) -> None:
    raw = RawGit(remote.path)
    ref = f"refs/heads/kakeya/art/{sha256_of(_WANTED)}"
    many = raw.commit({f"{n}": os.urandom(40) for n in range(50)}, message="a whole history")
    raw.point(ref, raw.commit({}, message="kakeya: artifact of nobody", parents=[many]))
    store = make_store(remote.url, tmp_path / "a")
    with pytest.raises(IntegrityError, match="the commit has parents"):
        store.get(f"sha256:{sha256_of(_WANTED)}", tmp_path / "back")
    assert put(store, tmp_path, _WANTED).oid == raw.tip(ref)


# -- bounds --------------------------------------------------------------------------------


def test_a_huge_ref_is_refused_before_it_fills_the_disk(remote: Remote, tmp_path: Path) -> None:
    raw = RawGit(remote.path)
    parts = {f"{n:04d}": ("100644", raw.store("blob", os.urandom(PART_BYTES))) for n in range(2)}
    tree = {"art.json": note(raw, note_of(_WANTED)), "parts": ("40000", raw.tree(parts))}
    plant(raw, _WANTED, tree)
    store = make_store(remote.url, tmp_path / "a", fetch_mb=1)
    with pytest.raises(TooLargeError, match="nothing of it was taken") as caught:
        store.get(f"sha256:{sha256_of(_WANTED)}", tmp_path / "back")
    assert sha256_of(_WANTED) in caught.value.where
    assert not list((tmp_path / "a").iterdir())


def test_an_artifact_larger_than_asked_for_is_refused(remote: Remote, tmp_path: Path) -> None:
    stored = put(make_store(remote.url, tmp_path / "a"), tmp_path, b"0" * (2 * _MIB))
    store = make_store(remote.url, tmp_path / "b")
    with pytest.raises(TooLargeError, match="2 MiB, at most 1 are taken"):
        store.get(stored.sha256, tmp_path / "back", max_bytes=_MIB)


def test_what_is_larger_than_a_ref_takes_is_not_put(remote: Remote, tmp_path: Path) -> None:
    store = make_store(remote.url, tmp_path / "a", art_mb=1)
    with pytest.raises(TooLargeError, match="a ref of its own takes 1 MiB") as caught:
        put(store, tmp_path, os.urandom(_MIB + 1))
    assert "lfs_from_mb" in caught.value.remedy


def test_a_file_that_changes_meanwhile_is_not_put(remote: Remote, tmp_path: Path) -> None:
    path = tmp_path / "moving"
    path.write_bytes(b"before")

    class Moving(io.FileIO):
        """A file that somebody writes to once it was read to its end."""

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(-1 if size is None else size)
            path.write_bytes(b"after!")
            return data

    with Moving(path) as file, pytest.raises(IntegrityError, match="changed while it was read"):
        put_file(make_store(remote.url, tmp_path / "a"), file)  # type: ignore[arg-type]


def test_a_server_that_refuses_says_so(remote: Remote, tmp_path: Path) -> None:
    RawGit(remote.path).run("config", "receive.maxInputSize", str(_MIB))
    with pytest.raises(KakeyaError, match="art/"):
        put(make_store(remote.url, tmp_path / "a"), tmp_path, os.urandom(2 * _MIB))
