"""What jobs cost: queue time, run time, GPU time and energy, by requester, preset and runner. Pure.

Times come from the record that the runner wrote, so that a folded job tells them as well as a live
one. The request's own time is its requester's clock, the others are the runner's: queue time is
only as good as these agree. A job that was tried again tells the run time of its last attempt.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.bus.chain import Chain
from bridge.canonical import ulid_time_ms

MAX_TOLD_S = 10 * 365 * 86_400.0
"""No time span of a record is believed beyond this."""


@dataclass(frozen=True, slots=True)
class JobUsage:
    """What one job took.

    Attributes:
        id: the job.
        asked_ms: Unix time inside its id, in milliseconds.
        requester, preset, runner: whose, which, where; "" where the job never got so far.
        state: its state now.
        verdict: of its gates, None where it was not judged.
        attempts: how often it was claimed.
        queue_s: from the request to the last claim, None where nobody tells.
        run_s: from launch to end of the last attempt, None where nobody tells.
        cpus, gpus: what it asked for.
        energy_j: what its machine says it used meanwhile, None where it says nothing.
    """

    id: str
    asked_ms: int
    requester: str
    preset: str
    runner: str
    state: str
    verdict: str | None
    attempts: int
    queue_s: float | None
    run_s: float | None
    cpus: int
    gpus: int
    energy_j: float | None

    @property
    def gpu_hours(self) -> float:
        """GPUs asked for times run time."""
        return self.gpus * (self.run_s or 0.0) / 3600

    @property
    def cpu_hours(self) -> float:
        """CPU slots asked for times run time."""
        return self.cpus * (self.run_s or 0.0) / 3600


@dataclass(frozen=True, slots=True)
class Total:
    """What several jobs took together.

    Attributes:
        key: what they have in common.
        jobs, ended, passed: how many; ended ones; with verdict pass.
        queue_median_s: median of the queue times that are told, None where none is.
        run_s, cpu_hours, gpu_hours: sums over the jobs that tell a run time.
        timed: how many tell a run time.
        energy_j: sum over the jobs that tell one, None where none does.
        metered: how many tell an energy.
    """

    key: str
    jobs: int
    ended: int
    passed: int
    queue_median_s: float | None
    run_s: float
    cpu_hours: float
    gpu_hours: float
    timed: int
    energy_j: float | None
    metered: int

    def as_json(self) -> dict[str, Any]:
        """The total as `--json` prints it."""
        return {
            "key": self.key,
            "jobs": self.jobs,
            "ended": self.ended,
            "passed": self.passed,
            "queue_median_s": _rounded(self.queue_median_s),
            "run_s": round(self.run_s, 3),
            "cpu_hours": round(self.cpu_hours, 6),
            "gpu_hours": round(self.gpu_hours, 6),
            "timed": self.timed,
            "energy_j": _rounded(self.energy_j),
            "metered": self.metered,
        }


KEYS: dict[str, Callable[[JobUsage], str]] = {
    "requester": lambda job: job.requester,
    "preset": lambda job: job.preset,
    "runner": lambda job: job.runner,
    "day": lambda job: datetime.fromtimestamp(job.asked_ms / 1000, UTC).strftime("%Y-%m-%d"),
}
"""By what jobs may be added up."""


def usage_of(chain: Chain, record: Mapping[str, Any] | None) -> JobUsage:
    """What a job took.

    Args:
        chain: the job.
        record: its evidence as JSON data, of any shape: a runner may have written anything.
    """
    asked, result, claim = chain.request, chain.result, chain.claim
    marks = _table(record, "timings")
    runner = claim.runner if claim else result.by if result and result.claim else ""
    return JobUsage(
        id=chain.job.id,
        asked_ms=min(ulid_time_ms(chain.job.id), 253_402_300_799_999),
        requester=asked.requested_by if asked else "",
        preset=asked.preset.name if asked else "",
        runner=runner,
        state=chain.state.value if chain.state else "unreadable",
        verdict=result.verdict if result else None,
        attempts=(result.attempt if result else chain.attempt) if runner else 0,
        queue_s=_span_s(marks.get("queued"), marks.get("claimed")),
        run_s=_span_s(marks.get("started"), marks.get("finished")),
        cpus=asked.resources.cpus if asked else 0,
        gpus=asked.resources.gpus if asked else 0,
        energy_j=_energy_j(record),
    )


def add_up(jobs: Sequence[JobUsage], by: str) -> tuple[Total, ...]:
    """The jobs by what `KEYS[by]` says of each, most run time first.

    Args:
        jobs: what each took.
        by: a key of `KEYS`.
    """
    groups: dict[str, list[JobUsage]] = {}
    for job in jobs:
        groups.setdefault(KEYS[by](job), []).append(job)
    totals = [total(key, group) for key, group in groups.items()]
    if by == "day":
        return tuple(sorted(totals, key=lambda one: one.key, reverse=True))
    return tuple(sorted(totals, key=lambda one: (-one.run_s, -one.jobs, one.key)))


def total(key: str, jobs: Iterable[JobUsage]) -> Total:
    """What `jobs` took together."""
    rows = list(jobs)
    queued = [job.queue_s for job in rows if job.queue_s is not None]
    energies = [job.energy_j for job in rows if job.energy_j is not None]
    return Total(
        key=key,
        jobs=len(rows),
        ended=sum(job.state not in ("queued", "claimed", "running") for job in rows),
        passed=sum(job.verdict == "pass" for job in rows),
        queue_median_s=statistics.median(queued) if queued else None,
        run_s=sum(job.run_s or 0.0 for job in rows),
        cpu_hours=sum(job.cpu_hours for job in rows),
        gpu_hours=sum(job.gpu_hours for job in rows),
        timed=sum(job.run_s is not None for job in rows),
        energy_j=sum(energies) if energies else None,
        metered=len(energies),
    )


def read_time_s(text: object) -> float | None:
    """The Unix time of a record's time, None where it is none."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _span_s(begin: object, end: object) -> float | None:
    begun_s, ended_s = read_time_s(begin), read_time_s(end)
    if begun_s is None or ended_s is None:
        return None
    return min(max(0.0, ended_s - begun_s), MAX_TOLD_S)


def _energy_j(record: Mapping[str, Any] | None) -> float | None:
    text = _table(_table(record, "execution"), "energy").get("joules")
    if not isinstance(text, str) or len(text) > 30 or not text.replace(".", "", 1).isdecimal():
        return None
    return float(text)


def _table(record: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    value = record.get(name) if record else None
    return value if isinstance(value, Mapping) else {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
