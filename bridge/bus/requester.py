"""The bus as a requester uses it: cheap glances at one job, its files, keys and code commits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.bus.chain import Chain, read_chain
from bridge.bus.remote import SMALL_BLOBS, GitBus
from bridge.errors import BusError, IntegrityError, KakeyaError
from bridge.git import RefTip
from bridge.records import Heartbeat, KeyNote

_COMMITTER = re.compile(rb"^committer .* ([0-9]{1,12}) [+-][0-9]{4}$", re.MULTILINE)
_NOT_THERE = (
    "not our ref",
    "couldn't find remote ref",
    "unadvertised object",
    "no such remote ref",
)


@dataclass(frozen=True, slots=True)
class Sight:
    """One successful poll: a job's tip (None: the ref is gone) and every heartbeat by runner."""

    tip: RefTip | None
    beats: dict[str, RefTip]


class RequesterBus(GitBus):
    """A `GitBus` with what only clients need."""

    def glance(self, ref: str) -> Sight:
        """Where a job and all heartbeats stand now, by one fetch of commits alone."""
        rest = self._below_root(ref)
        tips = self._look([f"{rest}*", "hb/*"], [rest, "hb/"])
        return Sight(tips[rest].get(ref), self._by_runner(tips["hb/"]))

    def beats(self) -> dict[str, RefTip]:
        """The tip of every heartbeat, by the runner's name."""
        return self._by_runner(self._look(["hb/*"], ["hb/"])["hb/"])

    def _by_runner(self, tips: dict[str, RefTip]) -> dict[str, RefTip]:
        prefix = f"{self.refs.root}/hb/"
        return {ref.removeprefix(prefix): tip for ref, tip in tips.items()}

    def read_beat(self, tip: RefTip) -> Heartbeat | None:
        """The heartbeat at `tip`, None where it has moved away or is no heartbeat."""
        try:
            beat = self.load_heartbeat(tip.ref)
        except KakeyaError:
            return None
        return beat if tip.ref == self.refs.heartbeat(beat.runner) else None

    def dated_s(self, tip: RefTip) -> int:
        """The Unix time that the commit at `tip` claims, for a person to read; 0 where none."""
        _, data = self._cache.work(lambda: self._cache.tips.read(tip.oid))
        match = _COMMITTER.search(data)
        return int(match[1]) if match else 0

    def load_key(self, ref: str) -> KeyNote | None:
        """Who took an idempotency key, None where nobody did."""
        if self.peek(ref) is None:
            return None
        return self._note(ref, "key", "key.json")  # type: ignore[return-value]

    def load_all(self, refs: Sequence[str]) -> list[Chain]:
        """The chains of several jobs by one fetch; those gone or unreadable are left out."""
        if not refs:
            return []
        bus_id = self.identity().id
        try:
            return self._cache.work(lambda: self._fetch_all(refs, bus_id))
        except BusError:  # one that is gone meanwhile fails them all
            return [chain for ref in refs for chain in self._try_load(ref)]

    def _fetch_all(self, refs: Sequence[str], bus_id: str) -> list[Chain]:
        jobs = self._cache.jobs
        local = {ref: f"refs/chain/{self._below_root(ref)}" for ref in refs}
        refspecs = [f"+{ref}:{name}" for ref, name in local.items()]
        jobs.fetch(self.url, refspecs, object_filter=SMALL_BLOBS)
        return [
            chain
            for ref, name in local.items()
            for chain in self._try_read(ref, jobs.tip_of(name), bus_id)
        ]

    def _try_read(self, ref: str, tip: str | None, bus_id: str) -> Iterable[Chain]:
        job = self.refs.parse_job(ref)
        if tip is None or job is None:
            return []
        try:
            return [
                read_chain(ref, job, self._history.walk(tip), self._history.blob, bus_id=bus_id)
            ]
        except IntegrityError:
            return []

    def _try_load(self, ref: str) -> Iterable[Chain]:
        try:
            return [self.load(ref)]
        except (BusError, IntegrityError):
            return []

    def fetch_files(self, oids: Iterable[str]) -> None:
        """Bring here the blobs that were too large to come with their chain."""

        def work() -> None:
            jobs = self._cache.jobs
            missing = sorted(oid for oid in set(oids) if not jobs.has(oid))
            if missing:
                jobs.fetch(self.url, missing)

        self._cache.work(work)

    def holds_code(self, commit: str) -> bool:
        """Whether the remote gives the commit `commit` to whoever asks for it.

        Raises:
            BusError: the remote did not answer.
        """
        try:
            self._cache.work(
                lambda: self._cache.tips.fetch(self.url, [commit], depth=1, object_filter="tree:0")
            )
        except BusError as error:
            if any(phrase in error.message.lower() for phrase in _NOT_THERE):
                return False
            raise
        return True
