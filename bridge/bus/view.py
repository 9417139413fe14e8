"""What one bus shows: its refs at a glance, the chains of its jobs, the notes beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bridge import wire
from bridge.bus.cache import Cache
from bridge.bus.chain import Chain, continue_chain
from bridge.bus.course import Course, read_course
from bridge.bus.course import subject_event as course_event
from bridge.bus.fetching import MAX_JOB_BYTES, MAX_POLL_BYTES, SMALL_BLOBS, Fetcher
from bridge.bus.history import History
from bridge.bus.ledger import Ledger
from bridge.bus.profile import Profile
from bridge.bus.refs import JobRef, Refs
from bridge.bus.roll import Roll
from bridge.canonical import is_ulid
from bridge.errors import BusError, IntegrityError, TooLargeError, UsageError
from bridge.git import FastPath, RefStamp, RefTip, check_url
from bridge.objects import parse_commit
from bridge.records import BusIdentity, CancelWish, Heartbeat
from bridge.signers import Keyring

_REMEMBERED = 64  # chains that are read on from where they were read last


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every ref of the bus at one poll, by full ref name; nothing of it is believed yet.

    `campaigns` goes by their ids.
    """

    jobs: dict[str, tuple[JobRef, RefTip]]
    heartbeats: dict[str, RefTip]
    wishes: dict[str, RefTip]
    foreign: tuple[str, ...]
    campaigns: dict[str, RefTip] = field(default_factory=dict)


class BusView:
    """The bus at `url`, to be read; not for use by two threads at once.

    Args:
        url: address of the git remote.
        cache: folder of its own for a few bare clones; it may be deleted at will.
        refs: names under the bus's root.
        profile: its clocks.
        max_job_bytes: largest pack that one fetch of jobs may bring.
        max_poll_bytes: largest pack of commits that one poll may bring.
        fast: speak smart HTTP without git processes, where the address is one of those.
        keyring: the keys that vouch for what runners write.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        *,
        refs: Refs,
        profile: Profile,
        fast: bool = True,
        max_job_bytes: int = MAX_JOB_BYTES,
        max_poll_bytes: int = MAX_POLL_BYTES,
        keyring: Keyring | None = None,
    ) -> None:
        self.url = check_url(url)
        self.refs = refs
        self.profile = profile
        self.keyring = keyring or Keyring()
        self.cache = cache
        timeout_s = profile.network_timeout_s
        self.fast = FastPath.to(self.url, timeout_s) if fast else None
        self._cache = Cache(cache, timeout_s=timeout_s, fast=self.fast)
        self._stamp = RefStamp.of(url)
        self._identity: BusIdentity | None = None
        self._fetcher = Fetcher(
            url, refs, self._cache, max_job_bytes=max_job_bytes, max_poll_bytes=max_poll_bytes
        )
        self._history = History(self._cache)
        self.ledger = Ledger(self.url, refs, self._cache, self._history, self.keyring)
        self.roll = Roll(self.url, self._cache, self._history, self.ledger)
        self._chains: dict[str, Chain] = {}

    def stamp(self, ref: str | None = None) -> tuple[int, ...] | None:
        """What changes when jobs, or one ref, move; None where only a look can tell.

        A hint to look soon, and nothing more: it may miss a move, and may change without one.
        """
        if self._stamp is None:
            return None
        root = self.refs.root
        return self._stamp.read(*([ref] if ref else [f"{root}/job", f"{root}/ctl"]))

    def close(self) -> None:
        """End the git processes behind this bus."""
        self._cache.close()

    def poll(self) -> Snapshot:
        """Every job, heartbeat, cancel wish and campaign, by one fetch of commits alone."""
        kinds = ("job", "hb", "ctl", "camp")
        tips = self._look([f"{kind}/*" for kind in kinds], [f"{kind}/" for kind in kinds])
        jobs: dict[str, tuple[JobRef, RefTip]] = {}
        foreign = []
        for ref, tip in tips["job/"].items():
            job = self.refs.parse_job(ref)
            if job is None:
                foreign.append(ref)
            else:
                jobs[ref] = (job, tip)
        return Snapshot(jobs, tips["hb/"], tips["ctl/"], tuple(foreign), self._by_id(tips["camp/"]))

    def peek(self, ref: str) -> RefTip | None:
        """Where one ref stands now, None if it is gone."""
        rest = self.refs.below_root(ref)
        # a pattern, since an exact name that is gone is an error
        return self._look([f"{rest}*"], [rest])[rest].get(ref)

    def find(self, job_id: str) -> str | None:
        """The ref of the job with this id, whatever its label, or None."""
        for ref in self._look(["job/*"], ["job/"])["job/"]:
            job = self.refs.parse_job(ref)
            if job is not None and job.id == job_id:
                return ref
        return None

    def load(
        self, ref: str, *, object_filter: str | None = SMALL_BLOBS, seen: str | None = None
    ) -> Chain:
        """A job's whole chain, fetched and judged.

        Args:
            ref: the job's ref.
            object_filter: which blobs stay away; None brings every one of them.
            seen: where a look has just shown it; what came with that look is not fetched again.

        Raises:
            BusError: the remote does not answer.
            IntegrityError: the commits cannot be read at all, or the ref is gone and the ledger
                does not hold the job.
        """
        job = self.refs.parse_job(ref)
        if job is None:
            raise UsageError(f"{ref!r} is no job of this bus", where="ref")
        bus_id = self.identity().id

        def work() -> Chain:
            tip = self._here(ref, seen) or self._fetcher.fetch(ref, object_filter)
            return self._read(ref, job, tip, bus_id)

        try:
            return self._cache.work(work)
        except BusError:
            if self.peek(ref) is not None:
                raise
        return self._load_folded(ref, job, bus_id)

    def load_whole(self, ref: str) -> Chain:
        """As `load`, and of a folded job the commits with their log, where they are still kept."""
        chain = self.load(ref)
        tip = self.ledger.fetch_chain(chain) if chain.archive else None
        if tip is None:
            return chain
        return self._cache.work(lambda: self._read(ref, chain.job, tip, self.identity().id))

    def _load_folded(self, ref: str, job: JobRef, bus_id: str) -> Chain:
        """The job of a ref that is gone; the ledger is read after that was seen."""
        chain = self.ledger.load(job.id, bus_id=bus_id)
        if chain is None or chain.ref != ref:
            raise IntegrityError(
                "the job's ref is gone and the ledger does not hold its result",
                where=ref,
                remedy="ask whoever may push to this bus who deleted it; submit the job again",
            )
        return chain

    def load_all(self, refs: Sequence[str]) -> list[Chain]:
        """The chains of several jobs by one fetch; those gone or unreadable are left out."""
        if not refs:
            return []
        bus_id = self.identity().id
        try:
            return self._cache.work(lambda: self._fetch_all(refs, bus_id))
        except (BusError, TooLargeError):  # one that is gone, or huge, fails them all
            return [chain for ref in refs for chain in self._try_load(ref)]

    def _fetch_all(self, refs: Sequence[str], bus_id: str) -> list[Chain]:
        tips = self._fetcher.fetch_all(refs)
        return [chain for ref in tips for chain in self._try_read(ref, tips[ref], bus_id)]

    def _try_read(self, ref: str, tip: str, bus_id: str) -> Iterable[Chain]:
        job = self.refs.parse_job(ref)
        if job is None:
            return []
        try:
            return [self._read(ref, job, tip, bus_id)]
        except IntegrityError:
            return []

    def _read(self, ref: str, job: JobRef, tip: str, bus_id: str) -> Chain:
        """The chain at a tip that is here; only what came since the last look is read."""
        known = self._chains.get(ref)
        commits, follows = self._history.walk(
            tip, known.tip if known else None, known.base if known else None
        )
        chain = known if known is not None and follows else Chain(ref, job, "", files={})
        chain = continue_chain(
            chain, commits, self._history.blob, bus_id=bus_id, keyring=self.keyring
        )
        self._chains.pop(ref, None)
        self._chains[ref] = chain
        if len(self._chains) > _REMEMBERED:
            del self._chains[next(iter(self._chains))]
        return chain

    def _try_load(self, ref: str) -> Iterable[Chain]:
        try:
            return [self.load(ref)]
        except (BusError, IntegrityError):
            return []

    def campaigns(self) -> dict[str, RefTip]:
        """Where every campaign stands now, by its id."""
        return self._by_id(self._look(["camp/*"], ["camp/"])["camp/"])

    def _by_id(self, tips: dict[str, RefTip]) -> dict[str, RefTip]:
        named = {ref.rpartition("/")[2]: tip for ref, tip in tips.items()}
        return {name: tip for name, tip in named.items() if is_ulid(name)}

    def load_campaign(self, campaign_id: str) -> Course:
        """A campaign's whole chain, fetched and judged.

        Raises:
            BusError: it is not there, or the remote does not answer.
            IntegrityError: its commits cannot be read at all.
        """
        ref, bus_id = self.refs.campaign(campaign_id), self.identity().id

        def work() -> Course:
            tip = self._fetcher.fetch(ref)
            commits = self._history.walk_campaign(tip, lambda line: bool(course_event(line)))
            return read_course(campaign_id, ref, commits, self._history.blob, bus_id=bus_id)

        return self._cache.work(work)

    def load_heartbeat(self, ref: str, *, seen: str | None = None) -> Heartbeat:
        """A runner's latest heartbeat; raises as `wire.parse`, or BusError if it is gone.

        Args:
            ref: the heartbeat's ref.
            seen: as for `load`.
        """
        return self._note(ref, "heartbeat", "heartbeat.json", seen)  # type: ignore[return-value]

    def load_wish(self, ref: str) -> CancelWish:
        """A cancel wish; raises as `wire.parse`, or BusError if it is gone."""
        return self._note(ref, "cancel", "cancel.json")  # type: ignore[return-value]

    def read(self, oid: str) -> bytes:
        """The content of a blob that came with a chain.

        Raises:
            IntegrityError: it is not here, or no blob.
            BusError: the cache was lost since, and the remote does not answer.
        """
        try:
            return self._cache.work(lambda: self._history.blob(oid))
        except IntegrityError as error:
            found = self._find_again(oid)
            if found is None:
                raise error
            return found

    def _find_again(self, oid: str) -> bytes | None:
        """A blob of a chain that was fetched into a clone which is gone by now."""
        for ref, object_filter in self._fetcher.recent(lost=True):
            with suppress(BusError, IntegrityError):
                return self._cache.work(partial(self._fetch_blob, ref, object_filter, oid))
        return None

    def _fetch_blob(self, ref: str, object_filter: str | None, oid: str) -> bytes:
        self._fetcher.fetch(ref, object_filter)
        return self._history.blob(oid)

    def identity(self) -> BusIdentity:
        """The bus's own id.

        Raises:
            UsageError: the remote is no bus yet.
        """
        if self._identity is None:
            self._identity = self.ledger.identity()
        if self._identity is None:
            raise UsageError(
                f"there is no bus below {self.refs.root}",
                where=self.url,
                remedy=f"make one: kakeya_remote bus init {self.url}",
            )
        return self._identity

    def _here(self, ref: str, seen: str | None) -> str | None:
        return seen if seen is not None and self._fetcher.has(ref, seen) else None

    def _look(
        self, patterns: Sequence[str], prefixes: Sequence[str]
    ) -> dict[str, dict[str, RefTip]]:
        return self._cache.work(lambda: self._fetcher.look(patterns, prefixes))

    def _note(self, ref: str, kind: str, name: str, seen: str | None = None) -> object:
        def work() -> object:
            tip = self._here(ref, seen) or self._fetcher.fetch(ref)
            tree, _, _ = parse_commit(self._history.commit_or_tree(tip, "commit"))
            files = self._history.files(tree)
            if name not in files:
                raise IntegrityError(f"the commit holds no {name}", where=ref)
            return wire.parse(kind, self._history.blob(files[name]), where=ref)

        return self._cache.work(work)
