"""Drills that are tests too: a cancel that reaches grandchildren, a runner that stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drills import memory
from tests.drills.cancelling import HEARTBEATS, cancel_a_family
from tests.drills.cut import work_through_a_cut
from tests.drills.field import open_field
from tests.drills.memory import Sample
from tests.servers.git_servers import open_transport

CUT_S = 10
JOBS = 600  # caches fill over the first hundreds, and that is no leak
PORTION = 60


def test_a_cancel_reaches_grandchildren_within_two_heartbeats(
    checkout: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "field"
    with open_transport("file") as served, open_field(served, checkout, folder) as field:
        seen = cancel_a_family(field)
    assert seen[0] == "wish alive"
    assert seen.count("beat alive") <= HEARTBEATS
    assert "cancelled" in field.words("client")


@pytest.mark.real("network namespaces", "sshd", "ssh", "ssh-keygen")
def test_a_job_goes_through_a_cut_of_the_line(checkout: Path, tmp_path: Path) -> None:
    with open_transport("file") as served, open_field(served, checkout, tmp_path / "f") as field:
        work_through_a_cut(field, CUT_S)
    assert sum(field.ends.values()) == 1
    assert field.doubled == 0


@pytest.mark.timeout(900)
def test_a_runner_is_no_larger_after_many_jobs(tmp_path: Path) -> None:
    seen = memory.measure(tmp_path, JOBS, PORTION, keep=10)
    assert seen[-1].jobs == JOBS
    memory.check(seen)


@pytest.mark.parametrize(
    ("what", "step"),
    [("KiB more", (40, 0, 0)), ("children", (0, 1, 0)), ("descriptors", (0, 0, 1))],
)
def test_a_runner_that_grows_is_found(what: str, step: tuple[int, int, int]) -> None:
    """One manifest kept, one child or one descriptor left behind for each job."""
    rss_kib, children, descriptors = step
    grown = [
        Sample(jobs, 40_000 + jobs * rss_kib, 4 + jobs * children, 20 + jobs * descriptors)
        for jobs in range(PORTION, JOBS + 1, PORTION)
    ]
    with pytest.raises(AssertionError, match=what):
        memory.check(grown)
