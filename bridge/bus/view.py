"""What one bus shows: its refs at a glance, the chains of its jobs, the notes beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bridge import records
from bridge.bus.cache import Cache
from bridge.bus.chain import Chain, continue_chain
from bridge.bus.history import History
from bridge.bus.profile import Profile
from bridge.bus.refs import JobRef, Refs
from bridge.errors import BusError, CacheError, IntegrityError, UsageError
from bridge.git import Git, RefTip, check_url
from bridge.objects import parse_commit
from bridge.records import BusIdentity, CancelWish, Heartbeat

SMALL_BLOBS = "blob:limit=300k"  # every record and log chunk fits; hostile bulk does not
_REMEMBERED = 64  # chains that are fetched again when the cache was lost


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every ref of the bus at one poll, by full ref name; nothing of it is believed yet."""

    jobs: dict[str, tuple[JobRef, RefTip]]
    heartbeats: dict[str, RefTip]
    wishes: dict[str, RefTip]
    foreign: tuple[str, ...]


class BusView:
    """The bus at `url`, to be read; not for use by two threads at once.

    Args:
        url: address of the git remote.
        cache: folder of its own for a few bare clones; it may be deleted at will.
        refs: names under the bus's root.
        profile: its clocks.
    """

    def __init__(self, url: str, cache: Path, *, refs: Refs, profile: Profile) -> None:
        self.url = check_url(url)
        self.refs = refs
        self.profile = profile
        self.cache = cache
        self._cache = Cache(cache, timeout_s=profile.network_timeout_s)
        self._identity: BusIdentity | None = None
        self._history = History(self._cache)
        self._chains: dict[str, Chain] = {}
        self._loaded: dict[str, tuple[str | None, Git]] = {}

    def close(self) -> None:
        """End the git processes behind this bus."""
        self._cache.close()

    def poll(self) -> Snapshot:
        """Every job, heartbeat and cancel wish, by one filtered fetch of commits alone."""
        kinds = ("job", "hb", "ctl")
        tips = self._look([f"{kind}/*" for kind in kinds], [f"{kind}/" for kind in kinds])
        jobs: dict[str, tuple[JobRef, RefTip]] = {}
        foreign = []
        for ref, tip in tips["job/"].items():
            job = self.refs.parse_job(ref)
            if job is None:
                foreign.append(ref)
            else:
                jobs[ref] = (job, tip)
        return Snapshot(jobs, tips["hb/"], tips["ctl/"], tuple(foreign))

    def peek(self, ref: str) -> RefTip | None:
        """Where one ref stands now, None if it is gone."""
        rest = self._below_root(ref)
        # a pattern, since an exact name that is gone is an error
        return self._look([f"{rest}*"], [rest])[rest].get(ref)

    def find(self, job_id: str) -> str | None:
        """The ref of the job with this id, whatever its label, or None."""
        for ref in self._look(["job/*"], ["job/"])["job/"]:
            job = self.refs.parse_job(ref)
            if job is not None and job.id == job_id:
                return ref
        return None

    def load(self, ref: str, *, object_filter: str | None = SMALL_BLOBS) -> Chain:
        """A job's whole chain, fetched and judged.

        Args:
            ref: the job's ref.
            object_filter: which blobs stay away; None brings every one of them.

        Raises:
            BusError: the ref is gone, or the remote does not answer.
            IntegrityError: the commits cannot be read at all.
        """
        job = self.refs.parse_job(ref)
        if job is None:
            raise UsageError(f"{ref!r} is no job of this bus", where="ref")
        bus_id = self.identity().id

        def work() -> Chain:
            return self._read(ref, job, self._fetch(ref, object_filter), bus_id)

        return self._cache.work(work)

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
            return [self._read(ref, job, tip, bus_id)]
        except IntegrityError:
            return []

    def _read(self, ref: str, job: JobRef, tip: str, bus_id: str) -> Chain:
        """The chain at a tip that is here; only what came since the last look is read."""
        known = self._chains.get(ref)
        commits, follows = self._history.walk(tip, known.tip if known else None)
        chain = known if known is not None and follows else Chain(ref, job, "", files={})
        chain = continue_chain(chain, commits, self._history.blob, bus_id=bus_id)
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

    def load_heartbeat(self, ref: str) -> Heartbeat:
        """A runner's latest heartbeat; raises as `records.parse`, or BusError if it is gone."""
        return self._note(ref, "heartbeat", "heartbeat.json")  # type: ignore[return-value]

    def load_wish(self, ref: str) -> CancelWish:
        """A cancel wish; raises as `records.parse`, or BusError if it is gone."""
        return self._note(ref, "cancel", "cancel.json")  # type: ignore[return-value]

    def read(self, oid: str) -> bytes:
        """The content of a blob that came with a chain.

        Raises:
            IntegrityError: it is not here, or no blob.
            BusError: the cache was lost since, and the remote does not answer.
        """
        try:
            return self._cache.work(lambda: self._history.blob(oid))
        except IntegrityError:
            if not self._load_again():
                raise
            return self._cache.work(lambda: self._history.blob(oid))

    def identity(self) -> BusIdentity:
        """The bus's own id.

        Raises:
            UsageError: the remote is no bus yet.
        """
        if self._identity is None:
            if self.peek(self.refs.ledger) is None:
                raise UsageError(
                    f"there is no bus below {self.refs.root}",
                    where=self.url,
                    remedy=f"make one: kakeya_remote bus init {self.url}",
                )
            self._identity = self._note(self.refs.ledger, "bus", "bus.json")  # type: ignore[assignment]
        assert self._identity is not None
        return self._identity

    # -- fetching; all below here runs inside `Cache.work` ---------------------------------

    def _look(
        self, patterns: Iterable[str], prefixes: Iterable[str]
    ) -> dict[str, dict[str, RefTip]]:
        """Fetch the commits of `patterns`; the tips below each of `prefixes`."""
        root, rests = self.refs.root, list(prefixes)
        refspecs = [f"+{root}/{item}:refs/tips/{item}" for item in patterns]

        def work() -> dict[str, dict[str, RefTip]]:
            tips = self._cache.tips
            tips.fetch(self.url, refspecs, depth=1, object_filter="tree:0", prune=True)
            return {rest: self._tips_below(tips, rest) for rest in rests}

        return self._cache.work(work)

    def _tips_below(self, git: Git, rest: str) -> dict[str, RefTip]:
        prefix = f"refs/tips/{rest}"
        folder = prefix[: prefix.rfind("/") + 1]
        tips = {}
        for local, tip in git.list_refs(folder).items():
            if local.startswith(prefix):
                ref = f"{self.refs.root}/{local.removeprefix('refs/tips/')}"
                tips[ref] = RefTip(ref, tip.oid, tip.subject)
        return tips

    def _below_root(self, ref: str) -> str:
        rest = ref.removeprefix(f"{self.refs.root}/")
        if rest == ref:
            raise UsageError(f"{ref!r} lies outside the bus's root {self.refs.root}", where="ref")
        return rest

    def _fetch(self, ref: str, object_filter: str | None) -> str:
        jobs, local = self._cache.jobs, f"refs/chain/{self._below_root(ref)}"
        jobs.fetch(
            self.url,
            [f"+{ref}:{local}"],
            object_filter=object_filter,
            again=object_filter is None,
        )
        tip = jobs.tip_of(local)
        if tip is None:
            raise CacheError("a ref that was fetched is not here", where=str(jobs.path))
        self._remember(ref, object_filter, jobs)
        return tip

    def _remember(self, ref: str, object_filter: str | None, jobs: Git) -> None:
        self._loaded.pop(ref, None)
        self._loaded[ref] = (object_filter, jobs)
        if len(self._loaded) > _REMEMBERED:
            del self._loaded[next(iter(self._loaded))]

    def _load_again(self) -> bool:
        """Fetch what was loaded from a clone that is gone by now; whether there was any."""
        lost = {
            ref: object_filter
            for ref, (object_filter, git) in self._loaded.items()
            if git is not self._cache.jobs
        }
        for ref, object_filter in lost.items():
            with suppress(BusError):
                self._cache.work(partial(self._fetch, ref, object_filter))
        return bool(lost)

    def _note(self, ref: str, kind: str, name: str) -> object:
        def work() -> object:
            tree, _, _ = parse_commit(
                self._history.commit_or_tree(self._fetch(ref, SMALL_BLOBS), "commit")
            )
            files = self._history.files(tree)
            if name not in files:
                raise IntegrityError(f"the commit holds no {name}", where=ref)
            return records.parse(kind, self._history.blob(files[name]), where=ref)

        return self._cache.work(work)
