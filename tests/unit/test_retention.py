"""Which ended jobs are folded, and when; a runner's housekeeping against a bus that counts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from bridge.bus.commits import runner_identity
from bridge.bus.endings import Signer
from bridge.bus.profile import PROFILES, Profile
from bridge.bus.refs import JobRef, Refs
from bridge.bus.retention import EndedWatch, Retention, ended_refs
from bridge.bus.view import Snapshot
from bridge.errors import BusError, IntegrityError
from bridge.git import RefTip
from bridge.runner.housekeeping import BATCH, Housekeeping
from tests import samples

REFS = Refs()
DAY_S = 86_400


def make_jobs(ended: int, waiting: int = 0) -> dict[str, tuple[JobRef, RefTip]]:
    jobs = {}
    for number in range(ended + waiting):
        job = JobRef("any", 5, samples.make_id())
        word = "done, attempt 1, by x" if number < ended else "request noop, by alice"
        oid = f"{number:040x}"
        jobs[REFS.job(job)] = (job, RefTip(REFS.job(job), oid, f"kakeya: {word}"))
    return jobs


def test_only_ended_jobs_are_candidates_the_oldest_id_first() -> None:
    jobs = make_jobs(3, 2)
    backwards = dict(reversed(jobs.items()))
    assert ended_refs(backwards) == list(jobs)[:3]


@pytest.mark.parametrize(
    ("ended", "waiting", "seen_s", "folded"),
    [
        (5, 0, 100.0, 0),  # few enough
        (10, 0, 100.0, 0),
        (11, 0, 100.0, 6),  # down to half of what is kept
        (4, 20, 100.0, 4),  # waiting jobs count, but cannot go
        (11, 0, 1.0, 0),  # too fresh
        (3, 0, 1000.0, 3),  # ended long ago
    ],
)
def test_the_policy(ended: int, waiting: int, seen_s: float, folded: int) -> None:
    jobs = make_jobs(ended, waiting)
    watch = EndedWatch()
    watch.observe(jobs, 0.0)
    watch.observe(jobs, seen_s)
    chosen = watch.choose(Retention(keep=10, after_s=1000.0), seen_s, grace_s=8.0)
    assert chosen == list(jobs)[:folded]


def test_what_a_fold_refused_is_left_until_it_moves() -> None:
    jobs = make_jobs(1)
    ((ref, (job, tip)),) = jobs.items()
    watch, retention = EndedWatch(), Retention(after_s=0.0)
    watch.observe(jobs, 0.0)
    watch.leave([ref])
    assert watch.choose(retention, 100.0, grace_s=0.0) == []
    watch.observe({ref: (job, RefTip(ref, "f" * 40, tip.subject))}, 1.0)
    assert watch.choose(retention, 100.0, grace_s=0.0) == [ref]


@dataclass
class CountingBus:
    """A bus of which a housekeeper sees enough; takes `fold` by what `answers` says."""

    jobs: dict[str, tuple[JobRef, RefTip]]
    answers: list[Exception | bool] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    swept: list[int | None] = field(default_factory=list)
    refs: Refs = REFS
    profile: Profile = PROFILES["local"]

    def fold(self, refs: list[str], signer: Signer) -> tuple[str, ...]:
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        self.folds.append(len(refs))
        return tuple(self.jobs.pop(ref)[0].id for ref in refs) if answer else ()

    def expire(self, before: str) -> tuple[str, ...]:
        self.expired.append(before)
        return ("x",)

    def sweep(self, before_s: int | None) -> tuple[str, ...]:
        self.swept.append(before_s)
        return ("x",) if before_s is not None else ()


def keep_house(bus: CountingBus, retention: Retention, until_s: float) -> list[str]:
    said: list[str] = []
    house = Housekeeping(
        bus,  # type: ignore[arg-type]
        retention,
        lambda: Signer("mac-m4", runner_identity("mac-m4"), samples.make_nonce(), DAY_S * 100),
        random.Random(7),
        said.append,
    )
    for step in range(int(until_s)):
        house.observe(Snapshot(bus.jobs, {}, {}, ()), float(step))
        house.tidy(float(step))
    return said


def test_a_crowded_bus_is_folded_in_batches() -> None:
    bus = CountingBus(make_jobs(150))
    said = keep_house(bus, Retention(keep=20), 100)
    assert bus.folds == [BATCH, BATCH, 150 - 10 - 2 * BATCH]
    assert len(bus.jobs) == 10
    assert said[0] == f"folded {BATCH} ended jobs into the ledger"


def test_a_quiet_bus_is_left_alone() -> None:
    bus = CountingBus(make_jobs(20, 30))
    assert keep_house(bus, Retention(), 100) == []
    assert (bus.folds, bus.expired) == ([], [])
    assert bus.swept == [None]  # once in a while, and no artifact


def test_a_lost_race_is_tried_again_and_a_refused_job_is_not() -> None:
    bus = CountingBus(make_jobs(3), answers=[False, True])
    keep_house(bus, Retention(after_s=0.0), 100)
    assert bus.folds == [3, 3]
    stuck = CountingBus(make_jobs(3), answers=[False] * 50)
    keep_house(stuck, Retention(after_s=0.0), 300)
    assert stuck.folds == [3, 3]


def test_a_broken_ledger_does_not_stop_the_runner() -> None:
    bus = CountingBus(make_jobs(3), answers=[IntegrityError("odd bytes", where="ledger")])
    said = keep_house(bus, Retention(after_s=0.0), 100)
    assert said == ["bus: cannot fold: ledger: odd bytes"]
    away = CountingBus(make_jobs(3), answers=[BusError("away")])
    with pytest.raises(BusError):
        keep_house(away, Retention(after_s=0.0), 100)


def test_logs_expire_by_the_day() -> None:
    bus = CountingBus({})
    said = keep_house(bus, Retention(logs_days=30), 10)
    assert bus.expired == ["1970-03-12"]
    assert said == ["expired the logs of 1 days"]


def test_artifacts_expire_by_the_second() -> None:
    bus = CountingBus({})
    said = keep_house(bus, Retention(artifacts_days=30), 10)
    assert bus.swept == [DAY_S * 70]
    assert said == ["deleted 1 artifacts and checkpoints that nobody needs"]
