"""Fetching from a bus no more than is new; all of it runs inside `Cache.work`.

Measured over smart HTTP, 200 live jobs: an idle poll with `--depth=1` asks for every commit again
(201 wants, 63 ms), one without asks for none (33 ms). Reading a job after one more log chunk, with
1 MB of log before it: all of it again without negotiation (141 ms), 2 KB with its last tip named
(50 ms). To name every tip of a cache costs a round trip for each few dozen.

A chain that stands on a branch (Actions) is fetched no deeper than the commit it stands on: the
commits that came with the poll tell how long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.bus.cache import Cache
from bridge.bus.chain import subject_event
from bridge.bus.history import event_of
from bridge.bus.refs import Refs
from bridge.errors import BusError, CacheError, IntegrityError, TooLargeError
from bridge.git import Git, RefTip
from bridge.objects import Base, parse_commit, parse_tree
from bridge.states import Event

SMALL_BLOBS = "blob:limit=300k"  # every record and log chunk fits; hostile bulk does not
_COMMITS = "tree:0"
MAX_JOB_BYTES = 256 * 2**20
"""The pack of one job's branch: logs of ten attempts (8 MiB each) and the largest result."""
MAX_POLL_BYTES = 512 * 2**20
_TIPS, _CHAINS = "refs/tips/", "refs/chain/"
_REMEMBERED = 64  # chains that are fetched again when the cache was lost
_MAX_NAMED = 32  # tips that the remote is told of in one fetch
_MAX_STEPS = 2_000  # of a chain that are looked through for the branch it stands on
_SLACK = 32  # commits that may come between a poll and the fetch that follows


@dataclass(frozen=True, slots=True)
class _Fetched:
    object_filter: str | None
    clone: Git
    tip: str


class Fetcher:
    """Fetches from one bus into its cache.

    Args:
        url: address of the git remote.
        refs: names under the bus's root.
        cache: where the clones are.
        max_job_bytes: largest pack that one fetch of jobs may bring.
        max_poll_bytes: largest pack of commits that one poll may bring.
    """

    def __init__(
        self,
        url: str,
        refs: Refs,
        cache: Cache,
        *,
        max_job_bytes: int = MAX_JOB_BYTES,
        max_poll_bytes: int = MAX_POLL_BYTES,
    ) -> None:
        self._url, self._refs, self._cache = url, refs, cache
        self._max_bytes, self._max_poll_bytes = max_job_bytes, max_poll_bytes
        self._fetched: dict[str, _Fetched] = {}
        self._logged: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._bases: dict[str, None] = {}

    def look(
        self, patterns: Iterable[str], prefixes: Iterable[str]
    ) -> dict[str, dict[str, RefTip]]:
        """Fetch the commits of `patterns` below the root; the tips below each of `prefixes`.

        The history of a job comes with its tip: a few small commits, but for jobs that log. Those
        are named to the remote, so that only their new commits come.
        """
        root, tips = self._refs.root, self._cache.tips
        refspecs = [f"+{root}/{item}:{_TIPS}{item}" for item in patterns]
        named = (*self._bases, *self._logged.values())
        logged = [oid for oid in named if tips.has(oid)]
        try:
            tips.fetch(
                self._url,
                refspecs,
                object_filter=_COMMITS,
                prune=True,
                known=logged[-_MAX_NAMED:],
                max_bytes=self._max_poll_bytes,
                eager=SMALL_BLOBS,
            )
        except TooLargeError as error:  # the bus as a whole, not one job: nobody can be served
            raise BusError(
                f"its refs cannot be polled: {error.message}",
                where=self._url,
                remedy="find the ref with the huge commits on the server and delete it",
            ) from error
        here = tips.list_refs(_TIPS)
        return {rest: self._tips_below(here, rest) for rest in prefixes}

    def glance(self, ref: str, beside: str) -> tuple[RefTip | None, dict[str, RefTip]] | None:
        """Where one ref stands, and all below `beside`, each with its small files, by one fetch.

        None for a chain that stands on a branch and is not here: all of that would come too.

        Raises:
            TooLargeError: more than `max_job_bytes` come with them.
        """
        jobs, root, rest = self._cache.jobs, self._refs.root, self._refs.below_root(ref)
        known = self._known(jobs, [ref])
        if not known and self._depth(ref):
            return None
        jobs.fetch(
            self._url,
            [f"+{root}/{name}*:{_CHAINS}{name}*" for name in (rest, beside)],
            object_filter=SMALL_BLOBS,
            prune=True,
            known=known,
            max_bytes=self._max_bytes,
        )
        here = jobs.list_refs(_CHAINS)
        tip = self._named(here, _CHAINS, rest).get(ref)
        tips = self._named(here, _CHAINS, beside)
        for found in [*([tip] if tip else []), *tips.values()]:
            self._remember(found.ref, _Fetched(SMALL_BLOBS, jobs, found.oid))
        return tip, tips

    def has(self, ref: str, tip: str) -> bool:
        """Whether `tip` of a ref is here with its small files."""
        item, jobs = self._fetched.get(ref), self._cache.jobs
        return item is not None and (item.tip, item.clone) == (tip, jobs) and jobs.has(tip)

    def fetch(self, ref: str, object_filter: str | None = SMALL_BLOBS) -> str:
        """Fetch one ref whole; the object that it points at.

        Args:
            ref: its name on the remote.
            object_filter: which blobs stay away; None brings every one of them.

        Raises:
            BusError: it is gone, or the remote does not answer.
            TooLargeError: more than `max_job_bytes` come with it.
        """
        jobs, local = self._cache.jobs, self._local(ref)
        whole = object_filter is None
        known = [] if whole else self._known(jobs, [ref])
        depth = None if known else self._depth(ref)
        if depth and not whole:
            known = [oid for oid in reversed(self._bases) if jobs.has(oid)][:_MAX_NAMED]
        if depth:  # with a depth, git does not call a ref that is gone an error
            jobs.delete_ref(local)
        refspec = f"+{ref}:{local}"
        jobs.fetch(
            self._url,
            [refspec],
            depth=depth,
            object_filter=object_filter,
            again=whole,
            known=known,
            max_bytes=self._max_bytes,
        )
        tip = jobs.tip_of(local)
        if tip is None:
            if depth:
                raise BusError(f"{ref} is gone", where=self._url)
            raise CacheError("a ref that was fetched is not here", where=str(jobs.path))
        self._remember(ref, _Fetched(object_filter, jobs, tip))
        return tip

    def fetch_all(self, refs: Sequence[str]) -> dict[str, str]:
        """Fetch several refs at once; what each points at.

        Raises:
            BusError: one of them is gone, or the remote does not answer.
            TooLargeError: more than `max_job_bytes` come with all of them.
        """
        jobs = self._cache.jobs
        alone = [ref for ref in refs if not self._known(jobs, [ref]) and self._depth(ref)]
        both = {ref: self.fetch(ref) for ref in alone}
        refs = [ref for ref in refs if ref not in both]
        if not refs:
            return both
        refspecs = [f"+{ref}:{self._local(ref)}" for ref in refs]
        known = self._known(jobs, refs)
        jobs.fetch(
            self._url,
            refspecs,
            object_filter=SMALL_BLOBS,
            known=known,
            max_bytes=self._max_bytes,
        )
        found = {ref: jobs.tip_of(self._local(ref)) for ref in refs}
        tips = {ref: tip for ref, tip in found.items() if tip is not None}
        for ref, tip in tips.items():
            self._remember(ref, _Fetched(SMALL_BLOBS, jobs, tip))
        return both | tips

    def fetch_base(self) -> Base:
        """Fetch the remote's default branch, its newest commit and the folders of it alone.

        Raises:
            BusError: it has none, or does not answer.
        """
        jobs, local = self._cache.jobs, "refs/base/head"
        jobs.delete_ref(local)
        jobs.fetch(
            self._url,
            [f"+HEAD:{local}"],
            depth=1,
            object_filter="blob:none",
            max_bytes=self._max_bytes,
        )
        oid = jobs.tip_of(local)
        if oid is None:
            raise CacheError("a ref that was fetched is not here", where=str(jobs.path))
        tree = parse_commit(jobs.read(oid)[1])[0]
        self._bases[oid] = None
        return Base(oid, parse_tree(jobs.read(tree)[1]))

    def _depth(self, ref: str) -> int | None:
        """How many commits bring a chain that stands on a branch; None for one that does not."""
        tips, oid = self._cache.tips, self._seen.get(ref)
        message = ""
        for count in range(_MAX_STEPS):
            try:
                _, parents, below = parse_commit(tips.read(oid)[1]) if oid else ("", (), "")
            except IntegrityError:  # the clone is a new one
                return None
            if oid and event_of(message) is Event.REQUEST and event_of(below) is None:
                self._bases[oid] = None
                return count + 1 + _SLACK
            if not parents:
                return None
            oid, message = parents[0], below
        return None

    def recent(self, *, lost: bool = False) -> list[tuple[str, str | None]]:
        """The refs fetched lately and their filters, latest first.

        Args:
            lost: only those that were fetched into a clone which is gone by now.
        """
        return [
            (ref, item.object_filter)
            for ref, item in reversed(self._fetched.items())
            if not lost or item.clone is not self._cache.jobs
        ]

    def _known(self, jobs: Git, refs: Iterable[str]) -> list[str]:
        items = (self._fetched.get(ref) for ref in refs)
        tips = [item.tip for item in items if item is not None and item.clone is jobs]
        return [tip for tip in tips if jobs.has(tip)][:_MAX_NAMED]

    def _remember(self, ref: str, item: _Fetched) -> None:
        self._fetched.pop(ref, None)
        self._fetched[ref] = item
        if len(self._fetched) > _REMEMBERED:
            del self._fetched[next(iter(self._fetched))]

    def _tips_below(self, here: Mapping[str, RefTip], rest: str) -> dict[str, RefTip]:
        tips = self._named(here, _TIPS, rest)
        self._seen |= {ref: tip.oid for ref, tip in tips.items()}
        below = f"{self._refs.root}/{rest}"
        kept = {ref: oid for ref, oid in self._logged.items() if not ref.startswith(below)}
        self._logged = kept | {
            ref: tip.oid for ref, tip in tips.items() if subject_event(tip.subject) is Event.LOG
        }
        return tips

    def _named(self, here: Mapping[str, RefTip], folder: str, rest: str) -> dict[str, RefTip]:
        """The tips of a clone below `folder`, under the names that they have on the remote."""
        tips = {}
        for local, tip in here.items():
            if local.startswith(f"{folder}{rest}"):
                ref = f"{self._refs.root}/{local.removeprefix(folder)}"
                tips[ref] = RefTip(ref, tip.oid, tip.subject)
        return tips

    def _local(self, ref: str) -> str:
        return f"{_CHAINS}{self._refs.below_root(ref)}"
