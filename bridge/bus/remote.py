"""One bus on one git remote: everything a view shows, and refs swapped exactly once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bridge.bus.commits import compose_note, requester_identity
from bridge.bus.endings import Signer
from bridge.bus.fetching import MAX_JOB_BYTES, MAX_POLL_BYTES, SMALL_BLOBS
from bridge.bus.folding import Folder, Leftovers
from bridge.bus.profile import Profile
from bridge.bus.refs import Refs
from bridge.bus.sweeping import find_stale
from bridge.bus.view import BusView, Snapshot
from bridge.errors import BusError, CacheError, IntegrityError, KakeyaError
from bridge.git import Git, PushReply, RefTip, says_no
from bridge.objects import Prepared, parse_commit
from bridge.records import BusIdentity
from bridge.signers import Keyring

__all__ = ["SMALL_BLOBS", "GitBus", "Outcome", "Snapshot", "Update"]

_RETRIES = 4
COMMITTER = re.compile(rb"^committer .* ([0-9]{1,12}) [+-][0-9]{4}$", re.MULTILINE)
_RETRY_PAUSE_S = 0.05
_MAX_CODE_BYTES = 2**30


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


class GitBus(BusView):
    """The bus at `url`, to be read and written; not for use by two threads at once.

    Args:
        url: address of the git remote.
        cache: folder of its own for a few bare clones; it may be deleted at will.
        refs: names under the bus's root.
        profile: its clocks.
        fast: speak smart HTTP without git processes, where the address is one of those.
        pause: how to wait between retries, in seconds.
        max_job_bytes, max_poll_bytes: see `BusView`.
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
        pause: Callable[[float], None] = time.sleep,
        max_job_bytes: int = MAX_JOB_BYTES,
        max_poll_bytes: int = MAX_POLL_BYTES,
        keyring: Keyring | None = None,
    ) -> None:
        bounds = {"max_job_bytes": max_job_bytes, "max_poll_bytes": max_poll_bytes}
        super().__init__(
            url, cache, refs=refs, profile=profile, fast=fast, keyring=keyring, **bounds
        )
        self._pause = pause

    def create_identity(self, identity: BusIdentity, when_s: int) -> BusIdentity:
        """Make the remote a bus with this id, or find that it is one already."""
        commit = compose_note(
            "bus.json", identity, "a bus begins", requester_identity("kakeya"), when_s
        )
        self.swap([Update(self.refs.ledger, None, commit)])
        return self.identity()

    def fold(self, refs: Sequence[str], signer: Signer) -> tuple[str, ...]:
        """Move ended jobs into the ledger by one push; the ids of those that were.

        None is moved where another folder was first, or anything else moved meanwhile. Jobs that
        have not ended are left out.

        Raises:
            BusError: the remote does not answer, or refuses.
        """
        chains = [chain for chain in self.load_all(refs) if chain.ended and not chain.archive]
        tips = self._look(["ctl/*", "key/*"], ["ctl/", "key/"])
        folder = Folder(self.url, self.refs, self._cache, self.ledger, self._pause)
        return folder.fold(chains, Leftovers(tips["ctl/"], tips["key/"]), signer)

    def expire(self, before: str) -> tuple[str, ...]:
        """Delete the archives of the days before `before` (`yyyy-mm-dd`): their logs go with them.

        Raises:
            BusError: the remote does not answer, or refuses.
        """
        shelves = self._look(["archive/*"], ["archive/"])["archive/"]
        limit = self.refs.archive(before)
        old = [tip for ref, tip in shelves.items() if self.refs.is_archive(ref) and ref < limit]
        outcomes = self.swap([Update(tip.ref, tip.oid, None) for tip in old])
        both = zip(old, outcomes, strict=True)
        return tuple(tip.ref for tip, outcome in both if outcome is Outcome.WON)

    def dated_s(self, tip: RefTip) -> int:
        """The Unix time that the commit at `tip` claims, for a person to read; 0 where none."""
        _, data = self._cache.work(lambda: self._cache.tips.read(tip.oid))
        match = COMMITTER.search(data)
        return int(match[1]) if match else 0

    def sweep(self, before_s: int | None) -> tuple[str, ...]:
        """Delete the art refs that nobody needs any more; see `bridge.bus.sweeping`.

        Raises:
            BusError: the remote does not answer, or refuses.
        """
        tips = self._look(["art/*"], ["art/"])["art/"]
        if not tips:
            return ()
        jobs = ((self.refs.parse_job(ref), ref) for ref in self._look(["job/*"], ["job/"])["job/"])
        live = {job.id: ref for job, ref in jobs if job is not None}
        stale = find_stale(tips, live, self.load_all, self.dated_s, before_s)
        outcomes = self.swap([Update(tip.ref, tip.oid, None) for tip in stale])
        both = zip(stale, outcomes, strict=True)
        return tuple(tip.ref for tip, outcome in both if outcome is Outcome.WON)

    def fetch_code(self, commit: str) -> Git:
        """A cache that holds a code commit, opened for the caller to close.

        Raises:
            BusError: the remote has it neither under the root nor gives it by id.
        """

        def work() -> Git:
            folder = self.cache / "code.git"
            git = Git.create_cache(folder, timeout_s=self.profile.network_timeout_s)
            try:
                if git.resolve(commit) is None:
                    self._fetch_commit(git, commit)
            except KakeyaError:
                git.close()
                raise
            return git

        return self._cache.work(work)

    def _fetch_commit(self, git: Git, commit: str) -> None:
        name = f"refs/code/{commit}"
        try:
            own = f"+{self.refs.code(commit)}:{name}"
            git.fetch(self.url, [own], depth=1, max_bytes=_MAX_CODE_BYTES)
        except CacheError:
            raise
        except BusError:
            git.fetch(self.url, [f"+{commit}:{name}"], depth=1, max_bytes=_MAX_CODE_BYTES)

    def swap(self, updates: Sequence[Update], *, atomic: bool = False) -> tuple[Outcome, ...]:
        """Push every update under a lease on its old value; one outcome each, in order.

        A lost reply is never a lost commit: after any failure the ref itself is asked.

        Raises:
            BusError: the remote does not answer; the same commits may be swapped again later.
        """
        if not updates:
            return ()
        reply = self._cache.work(lambda: self._push(updates, atomic=atomic))
        if atomic:
            whole = reply.accepts(update.ref for update in updates)
            return (Outcome.WON if whole else self._settle(updates, reply),) * len(updates)
        refused = [update for update in updates if not reply.accepts([update.ref])]
        outcomes = dict(zip((item.ref for item in refused), self._judge(refused), strict=True))
        return tuple(
            self._settle([update], reply)
            if outcomes.get(update.ref) is Outcome.UNSETTLED
            else outcomes.get(update.ref, Outcome.WON)
            for update in updates
        )

    def _judge(self, updates: Sequence[Update]) -> list[Outcome]:
        """Where the refs of a push stand that was not accepted for them, by one look at all."""
        if not updates:
            return []
        rests = [self.refs.below_root(update.ref) for update in updates]
        tips = self._look([f"{rest}*" for rest in rests], rests)
        return [
            self._standing(update, tips[rest].get(update.ref))
            for update, rest in zip(updates, rests, strict=True)
        ]

    def _push(self, updates: Sequence[Update], *, atomic: bool) -> PushReply:
        """Push what can be pushed; a lost cache may no longer have what a commit stands on."""
        jobs = self._cache.jobs
        rows = []
        for item in updates:
            if item.new is not None:
                jobs.store(item.new.objects)
                if not self._has_parents(jobs, item.ref, item.new):
                    continue
            rows.append((item.ref, item.old, item.new.oid if item.new else None))
        if not rows or (atomic and len(rows) < len(updates)):
            return PushReply(1, (), "")
        return jobs.push(self.url, rows, atomic=atomic)

    def _has_parents(self, jobs: Git, ref: str, commit: Prepared) -> bool:
        parents = parse_commit(commit.objects[-1].data)[1]
        if all(map(jobs.has, parents)):
            return True
        try:
            self._fetcher.fetch(ref)
        except CacheError:
            raise
        except BusError:
            return False
        return all(map(jobs.has, parents))

    def _settle(self, updates: Sequence[Update], reply: PushReply) -> Outcome:
        """How a push ended that was not simply accepted; its updates stand or fall together."""
        for attempt in range(_RETRIES):
            standings = set(self._judge(updates))
            if standings == {Outcome.WON}:
                return Outcome.WON
            if standings != {Outcome.UNSETTLED}:
                return Outcome.LOST
            self._check_refusal(updates, reply)
            self._pause(_RETRY_PAUSE_S * 2**attempt)
            reply = self._cache.work(lambda: self._push(updates, atomic=len(updates) > 1))
            if reply.accepts(update.ref for update in updates):
                return Outcome.WON
        self._check_refusal(updates, reply)
        return Outcome.UNSETTLED

    def _check_refusal(self, updates: Sequence[Update], reply: PushReply) -> None:
        """Stop where the remote will say no to every repetition."""
        reasons = [reply.reason(update.ref) for update in updates]
        reason = next((reason for reason in reasons if says_no(reason)), None)
        if reason is not None:
            raise BusError(
                f"the remote refuses {updates[0].ref}: {reason}",
                where=self.url,
                remedy="check that this machine may push below the bus's root",
            )

    def _standing(self, update: Update, tip: RefTip | None) -> Outcome:
        now, wanted = tip.oid if tip else None, update.new.oid if update.new else None
        if now == wanted or (wanted and now and self._descends(update.ref, wanted)):
            return Outcome.WON
        if now is None and wanted is not None and self._is_folded(update.ref, wanted):
            return Outcome.WON
        return Outcome.UNSETTLED if now == update.old else Outcome.LOST

    def _is_folded(self, ref: str, commit: str) -> bool:
        """Whether the ledger, read after the ref was seen to be gone, holds this very commit.

        It lists every step but those of the log: a log whose job was ended over it and folded
        counts as lost, and its runner finds the end.
        """
        job = self.refs.parse_job(ref)
        try:
            chain = self.ledger.load(job.id) if job is not None else None
        except IntegrityError:
            return False  # whatever lies there, it is not this commit
        return chain is not None and commit in {link.oid for link in chain.links}

    def _descends(self, ref: str, ancestor: str) -> bool:
        return self._cache.work(
            lambda: self._cache.jobs.is_ancestor(ancestor, self._fetcher.fetch(ref))
        )
