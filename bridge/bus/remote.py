"""One bus on one git remote: poll its refs, read chains, and swap refs exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from bridge import records
from bridge.bus.chain import MAX_COMMITS, Chain, Commit, read_chain, subject_event
from bridge.bus.commits import compose_note, requester_identity
from bridge.bus.profile import Profile
from bridge.bus.refs import JobRef, Refs
from bridge.errors import BusError, IntegrityError, UsageError
from bridge.git import Git, RefTip, check_url
from bridge.objects import Prepared, parse_commit, parse_tree
from bridge.records import BusIdentity, CancelWish, Heartbeat
from bridge.states import Event

SMALL_BLOBS = "blob:limit=300k"  # every record and log chunk fits; hostile bulk does not
_RETRIES = 4
_RETRY_PAUSE_S = 0.05
_MAX_TREE_FILES = 5_000


class Outcome(StrEnum):
    """How a compare-and-swap ended; `UNSETTLED` means the remote let neither side win yet."""

    WON = "won"
    LOST = "lost"
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True)
class Update:
    """One ref to swap: from `old` (None: it must not exist) to `new` (None: delete it)."""

    ref: str
    old: str | None
    new: Prepared | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every ref of the bus at one poll, by full ref name; nothing of it is believed yet."""

    jobs: dict[str, tuple[JobRef, RefTip]]
    heartbeats: dict[str, RefTip]
    wishes: dict[str, RefTip]
    foreign: tuple[str, ...]


class GitBus:
    """The bus at `url`; one process at a time works in `cache`, which may be deleted at will.

    Args:
        url: address of the git remote.
        cache: folder of its own for two bare clones.
        refs: names under the bus's root.
        profile: its clocks.
        pause: how to wait between retries, in seconds.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        *,
        refs: Refs,
        profile: Profile,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = check_url(url)
        self.refs = refs
        self.profile = profile
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(cache / "lock", timeout=4 * profile.network_timeout_s)
        self._pause = pause
        with self._lock:
            self._tips = Git.create_cache(cache / "tips.git", timeout_s=profile.network_timeout_s)
            self._jobs = Git.create_cache(cache / "jobs.git", timeout_s=profile.network_timeout_s)
        self._identity: BusIdentity | None = None
        self._trees: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        """End the git processes behind this bus."""
        self._tips.close()
        self._jobs.close()

    # -- reading ---------------------------------------------------------------------------

    def poll(self) -> Snapshot:
        """Every job, heartbeat and cancel wish, by one filtered fetch of commits alone."""
        kinds = ("job", "hb", "ctl")
        self._fetch_tips([f"{kind}/*" for kind in kinds])
        jobs: dict[str, tuple[JobRef, RefTip]] = {}
        foreign = []
        for ref, tip in self._tips_below("job/").items():
            job = self.refs.parse_job(ref)
            if job is None:
                foreign.append(ref)
            else:
                jobs[ref] = (job, tip)
        return Snapshot(jobs, self._tips_below("hb/"), self._tips_below("ctl/"), tuple(foreign))

    def peek(self, ref: str) -> RefTip | None:
        """Where one ref stands now, None if it is gone."""
        rest = self._below_root(ref)
        self._fetch_tips([f"{rest}*"])  # a pattern, since an exact name that is gone is an error
        return self._tips_below(rest).get(ref)

    def find(self, job_id: str) -> str | None:
        """The ref of the job with this id, whatever its label, or None."""
        self._fetch_tips(["job/*"])
        for ref in self._tips_below("job/"):
            job = self.refs.parse_job(ref)
            if job is not None and job.id == job_id:
                return ref
        return None

    def load(self, ref: str, *, object_filter: str | None = SMALL_BLOBS) -> Chain:
        """A job's whole chain, fetched and judged.

        Raises:
            BusError: the ref is gone, or the remote does not answer.
            IntegrityError: the commits cannot be read at all.
        """
        job = self.refs.parse_job(ref)
        if job is None:
            raise UsageError(f"{ref!r} is no job of this bus", where="ref")
        tip = self._fetch(ref, object_filter)
        commits = self._walk(tip)
        identity = self.identity()
        return read_chain(ref, job, commits, self.read, bus_id=identity.id)

    def load_heartbeat(self, ref: str) -> Heartbeat:
        """A runner's latest heartbeat; raises as `records.parse`, or BusError if it is gone."""
        return self._note(ref, "heartbeat", "heartbeat.json")  # type: ignore[return-value]

    def load_wish(self, ref: str) -> CancelWish:
        """A cancel wish; raises as `records.parse`, or BusError if it is gone."""
        return self._note(ref, "cancel", "cancel.json")  # type: ignore[return-value]

    def read(self, oid: str) -> bytes:
        """The content of a fetched blob."""
        kind, data = self._jobs.read(oid)
        if kind != "blob":
            raise IntegrityError(f"{oid} is a {kind}, expected a blob")
        return data

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

    def create_identity(self, identity: BusIdentity, when_s: int) -> BusIdentity:
        """Make the remote a bus with this id, or find that it is one already."""
        commit = compose_note(
            "bus.json", identity, "a bus begins", requester_identity("kakeya"), when_s
        )
        self.swap([Update(self.refs.ledger, None, commit)])
        return self.identity()

    def fetch_code(self, commit: str) -> Git:
        """A cache that holds a code commit, opened for the caller to close.

        Raises:
            BusError: the remote has it neither under the root nor gives it by id.
        """
        local = f"+{self.refs.code(commit)}:refs/code/{commit}"
        with self._lock:
            git = Git.create_cache(
                self.cache / "code.git", timeout_s=self.profile.network_timeout_s
            )
            if git.resolve(commit) is not None:
                return git
            try:
                git.fetch(self.url, [local], depth=1)
            except BusError:
                git.fetch(self.url, [f"+{commit}:refs/code/{commit}"], depth=1)
        return git

    # -- writing ---------------------------------------------------------------------------

    def swap(self, updates: Sequence[Update], *, atomic: bool = False) -> tuple[Outcome, ...]:
        """Push every update under a lease on its old value; one outcome each, in order.

        A lost reply is never a lost commit: after any failure the ref itself is asked.

        Raises:
            BusError: the remote does not answer; the same commits may be swapped again later.
        """
        with self._lock:
            for update in updates:
                self._jobs.store(update.new.objects if update.new else ())
            rows = [(item.ref, item.old, item.new.oid if item.new else None) for item in updates]
            reply = self._jobs.push(self.url, rows, atomic=atomic)
        accepted = {line.ref for line in reply.lines if line.flag != "!"}
        refusals = {line.ref: line.summary for line in reply.lines if line.flag == "!"}
        if atomic:
            done = all(update.ref in accepted for update in updates)
            reason = next(iter(refusals.values()), reply.stderr)
            return (Outcome.WON if done else self._settle(updates, reason),) * len(updates)
        return tuple(
            Outcome.WON
            if update.ref in accepted
            else self._settle([update], refusals.get(update.ref, reply.stderr))
            for update in updates
        )

    def _settle(self, updates: Sequence[Update], reason: str) -> Outcome:
        """How a push ended that was not simply accepted; its updates stand or fall together."""
        rows = [(item.ref, item.old, item.new.oid if item.new else None) for item in updates]
        for attempt in range(_RETRIES):
            standings = {self._standing(*row) for row in rows}
            if standings == {Outcome.WON}:
                return Outcome.WON
            if standings != {Outcome.UNSETTLED}:
                return Outcome.LOST
            self._pause(_RETRY_PAUSE_S * 2**attempt)
            with self._lock:
                reply = self._jobs.push(self.url, rows, atomic=len(rows) > 1)
            if {line.ref for line in reply.lines if line.flag != "!"} >= {row[0] for row in rows}:
                return Outcome.WON
            reason = next((line.summary for line in reply.lines), reply.stderr)
        if "denied" in reason or "hook declined" in reason or "fatal:" in reason:
            raise BusError(
                f"the remote refuses {rows[0][0]}: {reason.strip()[:300]}",
                where=self.url,
                remedy="check that this machine may push below the bus's root",
            )
        return Outcome.UNSETTLED

    def _standing(self, ref: str, old: str | None, wanted: str | None) -> Outcome:
        tip = self.peek(ref)
        now = tip.oid if tip else None
        if now == wanted or (wanted and now and self._descends(ref, wanted)):
            return Outcome.WON
        return Outcome.UNSETTLED if now == old else Outcome.LOST

    def _descends(self, ref: str, ancestor: str) -> bool:
        tip = self._fetch(ref, SMALL_BLOBS)
        return self._jobs.is_ancestor(ancestor, tip)

    # -- fetching --------------------------------------------------------------------------

    def _fetch_tips(self, patterns: Iterable[str]) -> None:
        root = self.refs.root
        refspecs = [f"+{root}/{item}:refs/tips/{item}" for item in patterns]
        with self._lock:
            self._tips.fetch(self.url, refspecs, depth=1, object_filter="tree:0", prune=True)

    def _tips_below(self, rest: str) -> dict[str, RefTip]:
        prefix = f"refs/tips/{rest}"
        folder = prefix[: prefix.rfind("/") + 1]
        tips = {}
        for local, tip in self._tips.list_refs(folder).items():
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
        local = f"refs/chain/{self._below_root(ref)}"
        with self._lock:
            self._jobs.fetch(self.url, [f"+{ref}:{local}"], object_filter=object_filter)
            tip = self._jobs.resolve(local)
        if tip is None:
            raise BusError("the ref does not point at a commit", where=ref)
        return tip

    def _note(self, ref: str, kind: str, name: str) -> object:
        tip = self._fetch(ref, SMALL_BLOBS)
        files = self._files(parse_commit(self._jobs.read(tip)[1])[0])
        if name not in files:
            raise IntegrityError(f"the commit holds no {name}", where=ref)
        return records.parse(kind, self.read(files[name]), where=ref)

    def _walk(self, tip: str) -> list[Commit]:
        commits: list[Commit] = []
        oid: str | None = tip
        while oid is not None:
            if len(commits) >= MAX_COMMITS:
                raise IntegrityError(f"the chain has more than {MAX_COMMITS} commits")
            kind, data = self._jobs.read(oid)
            if kind != "commit":
                raise IntegrityError(f"the ref points at a {kind}, expected a commit")
            tree, parents, message = parse_commit(data)
            commits.append(Commit(oid, parents, message, self._files(tree)))
            # a request may be the child of a branch (Actions); the chain begins at the request
            begins = subject_event(message.split("\n", 1)[0]) is Event.REQUEST
            oid = None if begins or not parents else parents[0]
        return commits[::-1]

    def _files(self, tree: str, *, depth: int = 0) -> dict[str, str]:
        known = self._trees.get(tree)
        if known is not None:
            return known
        if depth > 8:
            raise IntegrityError("the tree is nested deeper than 8 folders")
        files: dict[str, str] = {}
        for name, (mode, oid) in parse_tree(self._jobs.read(tree)[1]).items():
            if mode == "40000":
                inner = self._files(oid, depth=depth + 1)
                files.update({f"{name}/{path}": blob for path, blob in inner.items()})
            elif mode == "100644":
                files[name] = oid
            else:
                raise IntegrityError(f"{name!r} has mode {mode}; only plain files are taken")
            if len(files) > _MAX_TREE_FILES:
                raise IntegrityError(f"the tree holds more than {_MAX_TREE_FILES} files")
        if len(self._trees) > 2_000:
            self._trees.clear()
        self._trees[tree] = files
        return files
