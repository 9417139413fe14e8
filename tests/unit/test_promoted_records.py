"""Every promoted record of this repository is read, hashed and judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence.promoted import ROOT, check_record, split_path
from tests.lab import REPO

PLACE = REPO / ROOT
FOLDERS = sorted({path.parent for path in PLACE.rglob("evidence.json*")})


SIGNERS = REPO / "evidence" / "signers"
STRANGERS = {"01M7VRP3C5ZW8QNAA86SS09AMF"}
"""Records that were promoted before anybody was enrolled, signed by a key that nobody kept."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_promoted_record_holds(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    signers = None if folder.name in STRANGERS else SIGNERS
    found = check_record(folder.relative_to(PLACE).as_posix(), files, signers)
    assert found.word in ("pass", "fail", "inconclusive", "missing", "job failed"), found
    assert found.problems == () or found.word == "job failed"


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_a_signature_by_a_key_that_is_not_enrolled_is_named(name: str) -> None:
    (folder,) = (folder for folder in FOLDERS if folder.name == name)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = check_record(folder.relative_to(PLACE).as_posix(), files, SIGNERS)
    assert (found.word, found.code) == ("tampered", 4)
    assert any("no key that is enrolled signed this record" in line for line in found.problems)


def test_nothing_else_lies_among_the_records() -> None:
    names = [path.relative_to(PLACE).as_posix() for path in PLACE.rglob("*") if path.is_file()]
    assert [name for name in names if name != "README.md" and split_path(name) is None] == []
