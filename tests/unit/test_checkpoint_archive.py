"""A checkpoint as one archive: whose it is, what is in it, and what is refused of a stranger's."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bridge.errors import IntegrityError, TooLargeError
from bridge.runner.archive import Origin, fingerprint, pack, unpack

_OWN = Origin("sha256:" + "1" * 64, 1, 3)
_ROOM = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder with what belongs there and what does not."""
    made = tmp_path / "in"
    (made / "deep").mkdir(parents=True)
    (made / "finished.jsonl").write_text("one\n")
    (made / "deep" / "model.pt").write_bytes(b"\0" * 100)
    (made / "link").symlink_to("/etc/passwd")
    (made / ".git").mkdir()
    (made / ".git" / "config").write_text("[core]")
    return made


def test_plain_files_come_back_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    pack(folder, _OWN, tmp_path / "it.tar", max_bytes=_ROOM)
    unpack(tmp_path / "it.tar", _OWN, tmp_path / "out", max_bytes=_ROOM)
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in found)
    assert names == ["deep/model.pt", "finished.jsonl"]
    assert (tmp_path / "out" / "finished.jsonl").read_text() == "one\n"


@pytest.mark.parametrize(
    "wanted",
    [
        replace(_OWN, request="sha256:" + "2" * 64),
        replace(_OWN, attempt=2),
        replace(_OWN, step=4),
    ],
)
def test_another_requests_or_attempts_is_refused(
    wanted: Origin, folder: Path, tmp_path: Path
) -> None:
    pack(folder, _OWN, tmp_path / "it.tar", max_bytes=_ROOM)
    with pytest.raises(IntegrityError, match="another request or attempt"):
        unpack(tmp_path / "it.tar", wanted, tmp_path / "out", max_bytes=_ROOM)


def test_both_ways_are_bounded(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match="of the preset"):
        pack(folder, _OWN, tmp_path / "it.tar", max_bytes=50)
    pack(folder, _OWN, tmp_path / "it.tar", max_bytes=_ROOM)
    with pytest.raises(TooLargeError, match="larger than its preset keeps"):
        unpack(tmp_path / "it.tar", _OWN, tmp_path / "out", max_bytes=50)


def test_a_change_is_seen_and_an_empty_folder_is_nothing(folder: Path, tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nowhere") is None
    before = fingerprint(folder)
    assert before == fingerprint(folder)
    (folder / "finished.jsonl").write_text("one\ntwo\n")
    assert fingerprint(folder) != before


def _entry(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.linkname = len(data), kind, "/etc/passwd"
    return entry


def _write(archive: Path, *entries: tarfile.TarInfo, own: bool = True) -> None:
    with tarfile.open(archive, "w") as tar:
        if own:
            data = json.dumps(asdict(_OWN)).encode()
            tar.addfile(_entry("origin.json", data), io.BytesIO(data))
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))


_HOSTILE: dict[str, Callable[[Path], None]] = {
    "climbs": lambda path: _write(path, _entry("files/../../up")),
    "absolute": lambda path: _write(path, _entry("/etc/cron.d/evil")),
    "absolute below files": lambda path: _write(path, _entry("files//etc/evil")),
    "git metadata": lambda path: _write(path, _entry("files/.git/hooks/x")),
    "a symlink": lambda path: _write(path, _entry("files/l", b"", tarfile.SYMTYPE)),
    "a hard link": lambda path: _write(path, _entry("files/l", b"", tarfile.LNKTYPE)),
    "a device": lambda path: _write(path, _entry("files/d", b"", tarfile.CHRTYPE)),
    "a folder": lambda path: _write(path, _entry("files/f", b"", tarfile.DIRTYPE)),
    "elsewhere": lambda path: _write(path, _entry("other/x")),
    "one file twice": lambda path: _write(path, _entry("files/x"), _entry("files/x")),
    "no origin": lambda path: _write(path, _entry("files/x"), own=False),
    "no archive": lambda path: path.write_bytes(b"rubbish" * 200) and None,
    "nothing": lambda path: path.write_bytes(b"") and None,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_hostile_archive_is_refused(name: str, tmp_path: Path) -> None:
    _HOSTILE[name](tmp_path / "it.tar")
    with pytest.raises(IntegrityError):
        unpack(tmp_path / "it.tar", _OWN, tmp_path / "out" / "in", max_bytes=_ROOM)
    outside = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert set(outside) <= {"it.tar", "x"}
