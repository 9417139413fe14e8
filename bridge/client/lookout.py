"""What somebody who watches a bus sees: jobs and how far they are, runners, a job's output.

Only what moved since the last look is read. How long a job still takes is the job's own word where
it gives one, else what jobs of its preset took before.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge.bus.chain import Chain
from bridge.bus.requester import RequesterBus
from bridge.client.fleet import RunnerView, read_fleet
from bridge.client.logs import chunks_of
from bridge.client.outcomes import JobStatus, status_of
from bridge.clock import Clock
from bridge.errors import KakeyaError
from bridge.states import Event

MAX_JOBS = 200
MAX_TAIL_BYTES = 16 * 1024
_MAX_PAST = 50


@dataclass(frozen=True, slots=True)
class JobView:
    """One job as it stands.

    Attributes:
        status: the job.
        since_s: seconds since it came into its state, by the dates of commits; None where unknown.
        left_s: seconds until its end as far as anybody knows, None where nobody does.
        told: whether `left_s` is the job's own word, and not what others took.
        share: how much of it is done, 0 to 1, None where unknown.
    """

    status: JobStatus
    since_s: float | None
    left_s: float | None = None
    told: bool = False
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A bus at one moment: its jobs, live ones first, each the newest first, and its runners."""

    jobs: tuple[JobView, ...]
    fleet: tuple[RunnerView, ...]
    left_out: int = 0


class Lookout:
    """Looks at one bus again and again; not for use by two threads at once.

    Args:
        bus: the bus.
        clock: its wall clock tells ages.
    """

    def __init__(self, bus: RequesterBus, clock: Clock) -> None:
        self._bus, self._clock = bus, clock
        self._chains: dict[str, Chain] = {}
        self._unreadable: dict[str, str] = {}

    def look(self) -> Look:
        """The bus as it stands now.

        Raises:
            BusError: it does not answer.
        """
        jobs = self._bus.poll().jobs
        newest = sorted(jobs, key=lambda ref: jobs[ref][0].id, reverse=True)[:MAX_JOBS]
        self._chains = {ref: self._chains[ref] for ref in newest if ref in self._chains}
        moved = [
            ref
            for ref in newest
            if jobs[ref][1].oid != self._unreadable.get(ref)
            and (ref not in self._chains or self._chains[ref].tip != jobs[ref][1].oid)
        ]
        for chain in self._bus.load_all(moved):
            self._chains[chain.ref] = chain
        read = self._chains.keys()
        self._unreadable |= {ref: jobs[ref][1].oid for ref in moved if ref not in read}
        past = _past(list(self._chains.values()), self._date_of)
        views = [self._view(self._chains[ref], past) for ref in newest if ref in self._chains]
        views.sort(key=lambda view: view.status.ended)  # stable: the newest stay first
        return Look(tuple(views), read_fleet(self._bus, self._clock), len(jobs) - len(newest))

    def tail(self, job_id: str) -> str:
        """The end of a job's output, of its last attempt; "" where there is none.

        Raises:
            BusError: the bus does not answer.
        """
        chain = next((one for one in self._chains.values() if one.job.id == job_id), None)
        chunks = chunks_of(chain) if chain is not None else []
        data = b""
        for attempt, _, oid in reversed(chunks):
            if attempt != chunks[-1][0] or len(data) >= MAX_TAIL_BYTES:
                break
            self._bus.fetch_files([oid])
            data = self._bus.read(oid) + data
        return data[-MAX_TAIL_BYTES:].decode("utf-8", "replace")

    def _date_of(self, oid: str) -> int | None:
        try:
            return self._bus.date_of(oid)
        except KakeyaError:
            return None

    def _view(self, chain: Chain, past: Mapping[tuple[str, str], Sequence[float]]) -> JobView:
        status = status_of(chain)
        turn = _last(chain, Event.CLAIM) if chain.held else chain.head
        dated_s = self._date_of(turn) if turn else None
        since_s = None if dated_s is None else max(0.0, self._clock.wall_s() - dated_s)
        if not chain.held:
            return JobView(status, since_s)
        left_s, told = _left_s(status, since_s, past)
        progress = status.progress
        share = None
        if progress is not None and progress.total:
            share = min(1.0, progress.step / progress.total)
        elif left_s is not None and since_s is not None and left_s + since_s > 0:
            share = since_s / (left_s + since_s)
        return JobView(status, since_s, left_s, told, share)


def _last(chain: Chain, event: Event) -> str | None:
    return next((link.oid for link in reversed(chain.links) if link.event is event), None)


def _left_s(
    status: JobStatus,
    since_s: float | None,
    past: Mapping[tuple[str, str], Sequence[float]],
) -> tuple[float | None, bool]:
    """How long a held job still takes, and whether that is its own word."""
    progress = status.progress
    if progress is not None and progress.eta_s is not None:
        return progress.eta_s, True
    if since_s is None:
        return None, False
    if progress is not None and progress.total and progress.step:
        return since_s * max(0, progress.total - progress.step) / progress.step, True
    preset = status.request.preset.name if status.request else ""
    found = past.get((preset, status.runner or "")) or past.get((preset, ""))
    return (max(0.0, statistics.median(found) - since_s), False) if found else (None, False)


def _past(
    chains: Sequence[Chain], date_of: Callable[[str], int | None]
) -> dict[tuple[str, str], list[float]]:
    """Seconds from claim to end of the jobs that are done, by preset and runner, and by preset."""
    found: dict[tuple[str, str], list[float]] = {}
    for chain in chains:
        claim = _last(chain, Event.CLAIM)
        end = _last(chain, Event.DONE)
        if claim is None or end is None or chain.request is None:
            continue
        begun_s, ended_s = date_of(claim), date_of(end)
        if begun_s is None or ended_s is None:
            continue
        preset, runner = chain.request.preset.name, chain.claim.runner if chain.claim else ""
        for key in {(preset, runner), (preset, "")}:
            found.setdefault(key, []).append(max(0.0, float(ended_s - begun_s)))
    return {key: spans[:_MAX_PAST] for key, spans in found.items()}
