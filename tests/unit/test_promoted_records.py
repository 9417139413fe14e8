"""Every promoted record of this repository is read, hashed and judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence.promoted import ROOT, check_record, split_path
from tests.lab import REPO

PLACE = REPO / ROOT
FOLDERS = sorted({path.parent for path in PLACE.rglob("evidence.json*")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_promoted_record_holds(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    signers = REPO / "evidence" / "signers"
    found = check_record(
        folder.relative_to(PLACE).as_posix(), files, signers if signers.is_file() else None
    )
    assert found.word in ("pass", "fail", "inconclusive", "missing", "job failed"), found
    assert found.problems == () or found.word == "job failed"


def test_nothing_else_lies_among_the_records() -> None:
    names = [path.relative_to(PLACE).as_posix() for path in PLACE.rglob("*") if path.is_file()]
    assert [name for name in names if name != "README.md" and split_path(name) is None] == []
