"""What a host keeps for later jobs, and what it lets go."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from executors.supervise.pruning import REST_S, prune

NOW_S = 1_800_000_000.0
KIB = 1024


def keep(root: Path, folder: str, name: str, kib: int, age_s: float) -> Path:
    """Something that lies there, last used so long ago."""
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder == "inputs":
        path.mkdir()
        (path / "weights").write_bytes(b"x" * kib * KIB)
    else:
        path.write_bytes(b"x" * kib * KIB)
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def test_the_longest_unused_goes_first_and_no_more_than_needed(tmp_path: Path) -> None:
    ages = {"a": 5 * REST_S, "b": 9 * REST_S, "c": 7 * REST_S}
    for name, age_s in ages.items():
        keep(tmp_path, "store", f"{name}.tar", 40, age_s)
    assert prune(tmp_path, 100 * KIB, NOW_S) == ["b.tar"]
    assert prune(tmp_path, 100 * KIB, NOW_S) == []
    assert prune(tmp_path, 0, NOW_S) == ["c.tar", "a.tar"]
    assert list((tmp_path / "store").iterdir()) == []


def test_an_archive_whose_content_lies_unpacked_goes_before_anything_else(tmp_path: Path) -> None:
    keep(tmp_path, "inputs", "d" * 64, 40, 9 * REST_S)
    keep(tmp_path, "store", f"{'d' * 64}.tar", 40, 2 * REST_S)
    keep(tmp_path, "store", f"{'c' * 64}.tar", 40, 9 * REST_S)
    assert prune(tmp_path, 100 * KIB, NOW_S) == [f"{'d' * 64}.tar"]
    assert (tmp_path / "inputs" / ("d" * 64) / "weights").exists()


def test_what_was_used_lately_or_is_named_by_a_job_stays(tmp_path: Path) -> None:
    keep(tmp_path, "store", "fresh.tar", 40, REST_S / 2)
    held = keep(tmp_path, "inputs", "e" * 64, 40, 9 * REST_S)
    job = tmp_path / "jobs" / "kakeya-1" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text(json.dumps({"inputs": {"weights": str(held)}}))
    assert prune(tmp_path, 0, NOW_S) == []
    job.unlink()
    assert prune(tmp_path, 0, NOW_S) == ["e" * 64]
    assert not held.exists()


@pytest.mark.parametrize("made", [(), ("store",), ("inputs",), ("jobs",)])
def test_an_empty_host_has_nothing_to_lose(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    assert prune(tmp_path, 0, NOW_S) == []
