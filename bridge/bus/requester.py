"""The bus as a requester uses it: cheap glances at one job, its files, keys and code commits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.bus.fetching import MAX_JOB_BYTES
from bridge.bus.ledger import is_not_there
from bridge.bus.remote import COMMITTER, GitBus
from bridge.errors import BusError, KakeyaError, TooLargeError
from bridge.git import RefTip
from bridge.objects import Base
from bridge.records import Heartbeat, KeyNote


@dataclass(frozen=True, slots=True)
class Sight:
    """One successful poll: a job's tip (None: the ref is gone) and every heartbeat by runner."""

    tip: RefTip | None
    beats: dict[str, RefTip]


class RequesterBus(GitBus):
    """A `GitBus` with what only clients need."""

    def glance(self, ref: str) -> Sight:
        """Where a job and all heartbeats stand now, by one fetch.

        The job's chain and the beats come with it, so that to read them costs no other; where
        somebody put too much there, the commits alone.
        """
        try:
            found = self._cache.work(lambda: self._fetcher.glance(ref, "hb/"))
        except TooLargeError:
            found = None
        if found is None:
            rest = self.refs.below_root(ref)
            tips = self._look([f"{rest}*", "hb/*"], [rest, "hb/"])
            found = tips[rest].get(ref), tips["hb/"]
        return Sight(found[0], self._by_runner(found[1]))

    def beats(self) -> dict[str, RefTip]:
        """The tip of every heartbeat, by the runner's name."""
        return self._by_runner(self._look(["hb/*"], ["hb/"])["hb/"])

    def _by_runner(self, tips: dict[str, RefTip]) -> dict[str, RefTip]:
        prefix = f"{self.refs.root}/hb/"
        return {ref.removeprefix(prefix): tip for ref, tip in tips.items()}

    def read_beat(self, tip: RefTip) -> Heartbeat | None:
        """The heartbeat at `tip`, None where it has moved away or is no heartbeat."""
        try:
            beat = self.load_heartbeat(tip.ref, seen=tip.oid)
        except KakeyaError:
            return None
        return beat if tip.ref == self.refs.heartbeat(beat.runner) else None

    def date_of(self, oid: str) -> int | None:
        """The Unix time that a commit of a loaded chain claims, for a person to read.

        Raises:
            BusError, IntegrityError: it is not here.
        """
        data = self._cache.work(lambda: self._history.commit_or_tree(oid, "commit"))
        match = COMMITTER.search(data)
        return int(match[1]) if match else None

    def find(self, job_id: str) -> str | None:
        """The ref of the job with this id, also where it was folded, or None."""
        ref = super().find(job_id)
        if ref is None:
            chain = self.ledger.load(job_id, bus_id=self.identity().id)
            ref = chain.ref if chain is not None else None
        return ref

    def fetch_base(self) -> Base:
        """The newest commit of the remote's default branch, for a request to stand on.

        Raises:
            BusError: it has none, or does not answer.
        """
        try:
            return self._cache.work(self._fetcher.fetch_base)
        except BusError as error:
            if not is_not_there(error):
                raise
            raise BusError(
                "the remote has no default branch that a request could stand on",
                where=self.url,
                remedy="push the trusted branch there, or ask without --on-push",
            ) from error

    def list_refs(self) -> dict[str, str]:
        """Every ref below the root and what it points at; lists all refs of the remote on the wire.

        A ref that the server cannot read points at forty zeros.
        """
        prefix = f"{self.refs.root}/"
        rows = self._cache.work(lambda: self._cache.tips.list_remote(self.url, [f"{prefix}*"]))
        return {
            ref: oid
            for ref, oid in rows.items()
            if ref.startswith(prefix) and not ref.endswith("^{}")
        }

    def arts(self) -> dict[str, RefTip]:
        """Every art ref by name."""
        art = re.compile(r"[0-9a-f]{64}\Z")
        tips = self._look(["art/*"], ["art/"])["art/"]
        return {ref: tip for ref, tip in tips.items() if art.match(ref.rpartition("/")[2])}

    def load_key(self, ref: str) -> KeyNote | None:
        """Who took an idempotency key, None where nobody did."""
        if self.peek(ref) is None:  # the ledger is read after that
            return self.ledger.load_key(ref.rpartition("/")[2])
        return self._note(ref, "key", "key.json")  # type: ignore[return-value]

    def fetch_files(self, oids: Iterable[str]) -> None:
        """Bring here the blobs that were too large to come with their chain.

        Raises:
            BusError: the remote did not answer, or has not got them.
        """
        wanted = sorted(set(oids))
        self._cache.work(lambda: self._bring(wanted))

    def _bring(self, oids: Sequence[str]) -> None:
        jobs = self._cache.jobs
        missing = [oid for oid in oids if not jobs.has(oid)]
        if not missing:
            return
        try:
            jobs.fetch(self.url, missing, max_bytes=MAX_JOB_BYTES)
        except BusError as error:
            if not is_not_there(error):
                raise
            # a server that speaks protocol 0 gives objects only with the ref that holds them
            for ref, _ in self._fetcher.recent():
                self._fetcher.fetch(ref, None)
                if all(map(jobs.has, missing)):
                    return
            raise

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
            if is_not_there(error):
                return False
            raise
        return True
