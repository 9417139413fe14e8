"""What a runner keeps on disk and takes from a job's folder: whole, bounded, and plain."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bridge.canonical import digest_bytes
from bridge.errors import UsageError
from bridge.objects import Identity, Prepared, build_commit
from bridge.runner import collect
from bridge.runner.collect import collect_artifacts, read_plain, read_tail
from bridge.runner.key import load_key
from bridge.runner.outbox import Outbox
from bridge.runner.output import read_progress


def make_commit(text: bytes) -> Prepared:
    author = Identity("r", "r@example.invalid")
    return build_commit(
        {"a.json": text}, kept_files={}, parents=(), message="m", author=author, when_s=1
    )


def test_a_letter_is_the_very_same_commit_after_a_restart(tmp_path: Path) -> None:
    commit = make_commit(b"\x00\n1")
    Outbox(tmp_path).put("one", "refs/heads/x", None, commit)
    (letter,) = Outbox(tmp_path).letters()
    assert (letter.ref, letter.old, letter.commit) == ("refs/heads/x", None, commit)
    Outbox(tmp_path).drop("one")
    assert list(Outbox(tmp_path).letters()) == []


@pytest.mark.parametrize("keep", [0, 1, 40, -1])
def test_a_letter_that_a_crash_cut_off_is_forgotten(tmp_path: Path, keep: int) -> None:
    box = Outbox(tmp_path)
    box.put("cut", "refs/heads/x", "0" * 40, make_commit(b"1"))
    whole = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:keep])
    (tmp_path / "other.partial").write_bytes(b"x")
    assert list(box.letters()) == []
    assert list(tmp_path.iterdir()) == []


def test_only_plain_files_are_collected(tmp_path: Path) -> None:
    inside = tmp_path / "artifacts"
    (inside / "sub").mkdir(parents=True)
    (inside / ".git").mkdir()
    (inside / "good.json").write_bytes(b"{}")
    (inside / "sub" / "größe.txt").write_bytes(b"x")
    (inside / ".git" / "config").write_bytes(b"[core]")
    (inside / "sub" / ".gitattributes").write_bytes(b"* x")
    (inside / "new\nline").write_bytes(b"x")
    (inside / "link").symlink_to("/etc/passwd")
    (inside / "folder-link").symlink_to("/etc")
    os.link(inside / "good.json", tmp_path / "second-name")
    os.mkfifo(inside / "pipe")
    if os.geteuid() == 0:  # /dev/zero by another name: to read it would never end
        os.mknod(inside / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    found = collect_artifacts(inside)
    assert [item.path for item in found.artifacts] == ["sub/größe.txt"]
    assert found.artifacts[0].sha256 == digest_bytes(b"x")
    left = " ".join(found.left)
    for name in ("good.json", ".git/config", ".gitattributes", "new", "link", "pipe"):
        assert name in left
    assert ("device" in left) == (os.geteuid() == 0)


def test_what_is_too_large_is_left_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(collect, "MAX_TOTAL_BYTES", 15)
    for name, size in (("a", 10), ("b", 11), ("c", 5), ("d", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    found = collect_artifacts(tmp_path)
    assert [item.path for item in found.artifacts] == ["a", "c"]
    assert found.large == ("b", "d")
    assert found.left == ()


def test_a_pipe_or_a_link_never_blocks_a_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "progress.jsonl")
    assert read_tail(tmp_path / "progress.jsonl", 100) == b""
    assert read_plain(tmp_path / "progress.jsonl", 100) is None
    assert read_progress(tmp_path) is None
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert read_plain(tmp_path / "link", 10**6) is None
    assert read_tail(tmp_path / "link", 10) == b""


@pytest.mark.parametrize(
    "row",
    [b"", b"{", b"[]", b'{"step": "x"}', b'{"step": 1e999}', b"\xff\xfe", b'{"total": 3}'],
)
def test_odd_progress_is_no_progress(tmp_path: Path, row: bytes) -> None:
    (tmp_path / "progress.jsonl").write_bytes(row)
    assert read_progress(tmp_path) is None


def test_the_last_whole_row_of_progress_counts(tmp_path: Path) -> None:
    rows = b'{"step": 1}\n{"step": 2, "total": 5, "eta_s": 1.25, "note": "a\\u0007b"}\n'
    (tmp_path / "progress.jsonl").write_bytes(rows)
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress.step, progress.total, progress.eta_s) == (2, 5, 1.2)
    assert progress.note == "a b"


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = load_key(tmp_path / "state", "mac-m4")
    assert load_key(tmp_path / "state", "mac-m4") == first
    assert first.public.startswith("mac-m4 ssh-ed25519 AAAA")
    assert (tmp_path / "state" / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "state" / "key").write_bytes(b"not a key")
    with pytest.raises(UsageError, match="is no private key"):
        load_key(tmp_path / "state", "mac-m4")
