"""What a requester sees of a whole bus: its jobs, its runners, why a job waits, what is broken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Iterator
from itertools import islice

from bridge.bus.requester import RequesterBus
from bridge.client.census import Counted, walk_jobs
from bridge.client.check import Check, check_bus
from bridge.client.checkout import Checkout, requester_name
from bridge.client.fleet import RunnerView, read_fleet
from bridge.client.folding import Folded, fold_jobs
from bridge.client.outcomes import JobStatus, status_of
from bridge.client.waiting import Watcher
from bridge.client.why import Explanation, explain
from bridge.clock import Clock
from bridge.records import Heartbeat

_CHUNK = 50


class Overview(ABC):
    """The part of `Client` that looks at all of a bus."""

    checkout: Checkout | None
    clock: Clock
    watcher: Watcher

    @property
    @abstractmethod
    def bus(self) -> RequesterBus:
        """The bus itself."""

    @abstractmethod
    def status(self, job_id: str) -> JobStatus:
        """Where one job stands."""

    def list(
        self,
        limit: int = 50,
        *,
        states: Collection[str] = (),
        preset: str | None = None,
        by: str | None = None,
        label: str | None = None,
        folded: bool = False,
    ) -> tuple[JobStatus, ...]:
        """The newest jobs of the bus, newest first.

        Args:
            limit: how many at most.
            states: in one of these states alone; empty for any.
            preset: of this preset alone.
            by: asked by this requester alone.
            label: with this label alone.
            folded: also those that are in the ledger.

        Raises:
            BusError: the bus does not answer.
        """

        def fits(job: JobStatus) -> bool:
            asked = job.request
            labels = (asked.label, *asked.labels) if asked else ()
            return (
                (not states or str(job.state) in states)
                and (preset is None or (asked is not None and asked.preset.name == preset))
                and (by is None or (asked is not None and asked.requested_by == by))
                and (label is None or label in labels)
            )

        jobs = [*islice(filter(fits, self._live()), limit)]
        if folded:
            bus_id = self.bus.identity().id
            ended = (status_of(chain) for chain in self.bus.roll.newest(bus_id=bus_id))
            jobs += islice(filter(fits, ended), limit)
        return tuple(sorted(jobs, key=lambda job: job.id, reverse=True)[:limit])

    def _live(self) -> Iterator[JobStatus]:
        jobs = self.bus.poll().jobs
        if not jobs:
            self.bus.identity()  # no bus, or a newer one, is told apart from one without jobs
        newest = sorted(jobs, key=lambda ref: jobs[ref][0].id, reverse=True)
        for start in range(0, len(newest), _CHUNK):
            chains = self.bus.load_all(newest[start : start + _CHUNK])
            yield from sorted(map(status_of, chains), key=lambda job: job.id, reverse=True)

    def walk(self, *, since_ms: int = 0, without: Container[str] = ()) -> Iterator[Counted]:
        """Every job of the bus with its evidence, folded ones too, the newest first.

        Args:
            since_ms: those alone whose id is not older than this Unix time in milliseconds.
            without: ids of folded jobs that are not fetched.

        Raises:
            BusError: the bus does not answer.
        """
        return walk_jobs(self.bus, since_ms=since_ms, without=without)

    def runners(self) -> dict[str, Heartbeat]:
        """The latest heartbeat of every runner that ever beat on this bus, alive or not."""
        views = read_fleet(self.bus, self.clock)
        return {view.name: view.beat for view in views if view.beat is not None}

    def fleet(self) -> tuple[RunnerView, ...]:
        """Every runner that ever beat on this bus, with the age of its last heartbeat.

        Raises:
            UsageError: it is no bus.
        """
        fleet = read_fleet(self.bus, self.clock)
        if not fleet:
            self.bus.identity()
        return fleet

    def why(self, job_id: str) -> Explanation:
        """Why a job stands where it stands: a reason for every known runner; raises as `status`."""
        return explain(self.status(job_id), self.fleet())

    def check(self) -> Check:
        """Look at every ref of the bus for what is broken, stuck, foreign or left over.

        Raises:
            BusError: the bus does not even list its refs.
        """
        return check_bus(self.bus, self.clock)

    def fold(
        self,
        *,
        keep: int = 0,
        older_than_s: float = 0.0,
        logs_days: int | None = None,
        artifacts_days: int | None = None,
    ) -> Folded:
        """Move ended jobs into the ledger; everything but their log is read as before.

        Args:
            keep: so many of the newest stay at refs of their own.
            older_than_s: so do those that ended less long ago.
            logs_days: delete the logs of jobs that were folded longer ago; None keeps them.
            artifacts_days: the same for artifacts at refs of their own.

        Raises:
            BusError: the bus does not answer, or refuses.
        """
        return fold_jobs(
            self.bus,
            self.clock,
            self.watcher,
            by=requester_name(self.checkout),
            keep=keep,
            older_than_s=older_than_s,
            logs_days=logs_days,
            artifacts_days=artifacts_days,
        )
