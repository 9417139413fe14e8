"""The bus as a requester uses it: cheap glances at one job, its files, keys and code commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.bus.chain import Chain, read_chain
from bridge.bus.remote import SMALL_BLOBS, GitBus
from bridge.errors import BusError, IntegrityError, KakeyaError
from bridge.git import RefTip
from bridge.records import Heartbeat, KeyNote

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
        self._fetch_tips([f"{rest}*", "hb/*"])
        return Sight(self._tips_below(rest).get(ref), self._beats())

    def beats(self) -> dict[str, RefTip]:
        """The tip of every heartbeat, by the runner's name."""
        self._fetch_tips(["hb/*"])
        return self._beats()

    def _beats(self) -> dict[str, RefTip]:
        prefix = f"{self.refs.root}/hb/"
        return {ref.removeprefix(prefix): tip for ref, tip in self._tips_below("hb/").items()}

    def read_beat(self, tip: RefTip) -> Heartbeat | None:
        """The heartbeat at `tip`, None where it has moved away or is no heartbeat."""
        try:
            beat = self.load_heartbeat(tip.ref)
        except KakeyaError:
            return None
        return beat if tip.ref == self.refs.heartbeat(beat.runner) else None

    def load_key(self, ref: str) -> KeyNote | None:
        """Who took an idempotency key, None where nobody did."""
        if self.peek(ref) is None:
            return None
        return self._note(ref, "key", "key.json")  # type: ignore[return-value]

    def load_all(self, refs: Sequence[str]) -> list[Chain]:
        """The chains of several jobs by one fetch; those gone or unreadable are left out."""
        local = {ref: f"refs/chain/{self._below_root(ref)}" for ref in refs}
        if not local:
            return []
        identity = self.identity()
        with self._lock:
            refspecs = [f"+{ref}:{name}" for ref, name in local.items()]
            try:
                self._jobs.fetch(self.url, refspecs, object_filter=SMALL_BLOBS)
            except BusError:  # one that is gone meanwhile fails them all
                return [chain for ref in refs for chain in self._try_load(ref)]
        return [
            chain
            for ref, name in local.items()
            for chain in self._try_read(ref, self._jobs.resolve(name), identity.id)
        ]

    def _try_read(self, ref: str, tip: str | None, bus_id: str) -> Iterable[Chain]:
        job = self.refs.parse_job(ref)
        if tip is None or job is None:
            return []
        try:
            return [read_chain(ref, job, self._walk(tip), self.read, bus_id=bus_id)]
        except IntegrityError:
            return []

    def _try_load(self, ref: str) -> Iterable[Chain]:
        try:
            return [self.load(ref)]
        except (BusError, IntegrityError):
            return []

    def fetch_files(self, oids: Iterable[str]) -> None:
        """Bring here the blobs that were too large to come with their chain."""
        with self._lock:
            missing = sorted(oid for oid in set(oids) if not self._jobs.has(oid))
            if missing:
                self._jobs.fetch(self.url, missing)

    def holds_code(self, commit: str) -> bool:
        """Whether the remote gives the commit `commit` to whoever asks for it.

        Raises:
            BusError: the remote did not answer.
        """
        try:
            with self._lock:
                self._tips.fetch(self.url, [commit], depth=1, object_filter="tree:0")
        except BusError as error:
            if any(phrase in error.message.lower() for phrase in _NOT_THERE):
                return False
            raise
        return True
