"""Artifacts through git-lfs: a real LFS store over file://, and servers that have none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import KakeyaError, TooLargeError
from tests.contracts.test_art_store import make_store, put, sha256_of
from tests.rawgit import RawGit
from tests.servers.transport import Remote, Transport

_MIB = 2**20


@pytest.fixture
def remote(serve: Callable[[str], Transport], require: Callable[[str], None]) -> Remote:
    require("git-lfs")
    return serve("file").create()


def _kept(remote: Remote, sha256: str) -> Path:
    return remote.path / "lfs" / "objects" / sha256[:2] / sha256[2:4] / sha256


def test_above_a_size_the_content_goes_through_lfs(remote: Remote, tmp_path: Path) -> None:
    small, large = os.urandom(_MIB - 1), os.urandom(3 * _MIB)
    store = make_store(remote.url, tmp_path / "a", lfs_from_mb=1, art_mb=1)
    for data, in_lfs in ((small, False), (large, True)):
        stored = put(store, tmp_path, data)
        assert _kept(remote, sha256_of(data)).is_file() is in_lfs
        files = RawGit(remote.path).run("ls-tree", "--name-only", stored.oid).split()
        assert files == (["art.json", "content"] if in_lfs else ["art.json", "parts"])
        back = tmp_path / f"back-{in_lfs}"
        assert make_store(remote.url, tmp_path / "b").get(stored.sha256, back) == len(data)
        assert back.read_bytes() == data


def test_the_pointer_is_one_that_git_lfs_reads(remote: Remote, tmp_path: Path) -> None:
    data = os.urandom(2 * _MIB)
    stored = put(make_store(remote.url, tmp_path / "a", lfs_from_mb=1), tmp_path, data)
    raw = RawGit(remote.path)
    pointer = tmp_path / "pointer"
    pointer.write_text(raw.run("cat-file", "blob", f"{stored.oid}:content") + "\n")
    raw.run("lfs", "pointer", "--check", f"--file={pointer}")


def test_what_the_lfs_store_gives_is_checked(remote: Remote, tmp_path: Path) -> None:
    data = os.urandom(2 * _MIB)
    stored = put(make_store(remote.url, tmp_path / "a", lfs_from_mb=1), tmp_path, data)
    kept = _kept(remote, sha256_of(data))
    kept.chmod(0o644)
    kept.write_bytes(os.urandom(2 * _MIB))
    with pytest.raises(KakeyaError, match=r"not sha256|LFS"):
        make_store(remote.url, tmp_path / "b").get(stored.sha256, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["http", "daemon", "ssh"])
def test_where_the_remote_has_no_lfs_the_ref_takes_it(
    name: str,
    serve: Callable[[str], Transport],
    require: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("git-lfs")
    transport = serve(name)
    for variable, value in transport.client_env.items():
        monkeypatch.setenv(variable, value)
    remote, said = transport.create(), list[str]()
    store = make_store(remote.url, tmp_path / "a", said, lfs_from_mb=1, art_mb=4)
    data = os.urandom(2 * _MIB)
    stored = put(store, tmp_path, data)
    assert "LFS cannot be used, the artifact goes to a ref as it is" in said[0]
    assert make_store(remote.url, tmp_path / "b").get(stored.sha256, tmp_path / "back")
    with pytest.raises(TooLargeError, match="a ref of its own takes 4 MiB"):
        put(store, tmp_path, os.urandom(5 * _MIB))
