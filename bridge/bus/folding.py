"""Folding: ended jobs go from refs of their own into the ledger, by one atomic push.

The push swaps the ledger and the day's archive and deletes the job, cancel and key refs, each under
a lease on what was read. It lands whole or not at all, so two folders, or a folder and a late
step, cannot harm each other: who loses has changed nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge import records, wire
from bridge.bus.cache import Cache
from bridge.bus.chain import Chain
from bridge.bus.endings import Signer
from bridge.bus.entry import ENTRY, FILES, kept_files, make_entry
from bridge.bus.fetching import SMALL_BLOBS
from bridge.bus.ledger import Ledger
from bridge.bus.refs import Refs
from bridge.bus.spine import entry_path, graft, key_path
from bridge.errors import BusError, CacheError, KakeyaError
from bridge.git import Git, PushReply, RefTip, says_no
from bridge.objects import GitObject, build_files, parse_commit, parse_tree, seal_tree
from bridge.records import KeyNote

BATCH = 100
"""Jobs in one push: about 70 ms through the git command (git_bus, section 3)."""
_RETRIES = 3
_RETRY_PAUSE_S = 0.1
_KEY_SUBJECT = re.compile(r"kakeya: key of ([0-7][0-9A-HJKMNP-TV-Z]{25})(?:,|\Z)")
_LOCAL = "refs/fold"
_Leaf = tuple[str, str]
Row = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What lies beside the jobs at one poll: cancel wishes and idempotency keys, by ref."""

    wishes: Mapping[str, RefTip]
    keys: Mapping[str, RefTip]


@dataclass(frozen=True, slots=True)
class Plan:
    """One push: the objects it needs here, what it moves, the ledger it makes, whom it folds."""

    objects: tuple[GitObject, ...]
    rows: tuple[Row, ...]
    ledger: str
    ids: tuple[str, ...]


def key_owner(tip: RefTip) -> str | None:
    """The id of the job that a key's commit says it belongs to."""
    match = _KEY_SUBJECT.match(tip.subject)
    return match[1] if match else None


class Folder:
    """Folds jobs of one bus; each call is one try.

    Args:
        url: address of the git remote.
        refs: names under the bus's root.
        cache: its clone `ledger.git` is worked in.
        ledger: reads the ledger there.
        pause: how to wait between retries, in seconds.
    """

    def __init__(
        self,
        url: str,
        refs: Refs,
        cache: Cache,
        ledger: Ledger,
        pause: Callable[[float], None],
    ) -> None:
        self._url, self._refs, self._cache = url, refs, cache
        self._ledger, self._pause = ledger, pause

    def fold(self, chains: Sequence[Chain], beside: Leftovers, signer: Signer) -> tuple[str, ...]:
        """Fold ended jobs by one push; the ids that were folded, none where something moved.

        Jobs that the ledger holds already are left alone: an entry is never written over.

        Raises:
            BusError: the remote does not answer, or refuses by rule.
        """
        if not chains:
            return ()
        try:
            plan = self._cache.work(lambda: self._plan(chains, beside, signer))
        except CacheError:
            raise
        except BusError:
            if self._is_there(chains):
                raise
            return ()  # a ref is gone since the poll: another folder was first
        return plan.ids if plan.ids and self._land(plan) else ()

    def _land(self, plan: Plan) -> bool:
        for attempt in range(_RETRIES):
            reply = self._push(plan)
            if reply.accepts(ref for ref, _, _ in plan.rows):
                return True
            tip = self._cache.work(self._ledger.refresh)
            if tip == plan.ledger:
                return True  # the reply was lost, the push was not
            if tip != plan.rows[0][1]:
                return False
            self._check_refusal(plan, reply)
            self._pause(_RETRY_PAUSE_S * 2**attempt)
        return False

    def _is_there(self, chains: Sequence[Chain]) -> bool:
        """Whether the refs of all these jobs still stand where they were read."""
        names = [chain.ref.removeprefix(f"{self._refs.root}/") for chain in chains]

        def work() -> bool:
            git = self._ledger.git
            refspecs = [f"+{self._refs.root}/{name}*:{_LOCAL}/{name}*" for name in names]
            git.fetch(self._url, refspecs, depth=1, object_filter="tree:0", prune=True)
            tips = [git.tip_of(f"{_LOCAL}/{name}") for name in names]
            return tips == [chain.tip for chain in chains]

        return self._cache.work(work)

    def _check_refusal(self, plan: Plan, reply: PushReply) -> None:
        reasons = [reply.reason(ref) for ref, _, _ in plan.rows]
        reason = next((reason for reason in reasons if says_no(reason)), None)
        if reason is not None:
            raise BusError(
                f"the remote refuses to fold: {reason}",
                where=self._url,
                remedy="check that this machine may push and delete below the bus's root",
            )

    # -- inside `Cache.work` ---------------------------------------------------------------

    def _push(self, plan: Plan) -> PushReply:
        def work() -> PushReply:
            git = self._ledger.git
            git.store(plan.objects)
            return git.push(self._url, plan.rows, atomic=True)

        return self._cache.work(work)

    def _plan(self, chains: Sequence[Chain], beside: Leftovers, signer: Signer) -> Plan:
        old = self._ledger.refresh()
        if old is None:
            raise BusError("there is no ledger", where=self._url)
        there = self._ledger.walk(old, [entry_path(chain.job.id) for chain in chains])
        chains = [chain for chain in chains if entry_path(chain.job.id) not in there]
        ids = tuple(sorted(chain.job.id for chain in chains))
        if not ids:
            return Plan((), (), old, ())
        date = f"{datetime.fromtimestamp(signer.when_s, UTC):%Y-%m-%d}"
        archive = self._refs.archive(date)
        before = self._fetch_tips(chains, archive)
        objects: list[GitObject] = []
        leaves = _entries(chains, archive, objects)
        keys = self._keys(old, beside.keys, ids)
        for ref, data in keys.items():
            objects.append(GitObject("blob", data))
            leaves[key_path(_digest_in(ref))] = ("100644", objects[-1].oid)
        self._ledger.walk(old, list(leaves))
        root, trees = graft(self._ledger.tree_of(old), leaves, self._ledger.tree)
        ledger = _seal(root, [old], f"fold {len(ids)} jobs, by {signer.by}", signer, ids)
        parents = [*([before] if before else []), *(chain.tip for chain in chains)]
        empty = GitObject("tree", b"")
        story = f"archive of {date}, {len(ids)} chains, by {signer.by}"
        shelf = _seal(empty.oid, parents, story, signer, ids)
        wishes = {self._refs.wish(job_id) for job_id in ids} & beside.wishes.keys()
        rows: list[Row] = [(self._refs.ledger, old, ledger.oid), (archive, before, shelf.oid)]
        rows += [(chain.ref, chain.tip, None) for chain in chains]
        rows += [(ref, beside.wishes[ref].oid, None) for ref in sorted(wishes)]
        rows += [(ref, beside.keys[ref].oid, None) for ref in sorted(keys)]
        return Plan((*objects, *trees, empty, ledger, shelf), tuple(rows), ledger.oid, ids)

    def _fetch_tips(self, chains: Sequence[Chain], archive: str) -> str | None:
        """Bring what git must see not to send it again: tips and their trees; the archive's tip."""
        git = self._ledger.git
        refspecs = [f"+{archive}*:{_LOCAL}/archive*"]
        refspecs += [f"+{chain.ref}:{_LOCAL}/tip/{chain.job.id}" for chain in chains]
        git.delete_ref(f"{_LOCAL}/archive")
        git.fetch(self._url, refspecs, depth=1, object_filter="blob:none")
        heads = [chain.head for chain in chains if chain.head != chain.tip]
        if heads:  # below a foreign tip: git sends such a job's files again, so all must be here
            git.fetch(self._url, heads, depth=1, again=True)
        return git.tip_of(f"{_LOCAL}/archive")

    def _keys(self, old: str, keys: Mapping[str, RefTip], ids: Sequence[str]) -> dict[str, bytes]:
        """The notes of those keys that belong to the jobs `ids`, by ref."""
        wanted = {ref: _digest_in(ref) for ref, tip in keys.items() if key_owner(tip) in ids}
        there = self._ledger.walk(old, [key_path(digest) for digest in wanted.values()])
        names = {
            ref: f"{_LOCAL}/key/{digest}"
            for ref, digest in wanted.items()
            if key_path(digest) not in there
        }
        if not names:
            return {}
        git = self._ledger.git
        refspecs = [f"+{ref}:{name}" for ref, name in names.items()]
        git.fetch(self._url, refspecs, depth=1, object_filter=SMALL_BLOBS)
        notes = {ref: _note_of(git, keys[ref].oid) for ref in names}
        # what is no note, or of another job, stays: `bus check` names it
        return {ref: data for ref, data in notes.items() if data and _owner(data) in ids}


def _entries(
    chains: Sequence[Chain], archive: str, objects: list[GitObject]
) -> dict[tuple[str, ...], _Leaf]:
    leaves: dict[tuple[str, ...], _Leaf] = {}
    for chain in chains:
        tree, inner = build_files(
            {ENTRY: wire.to_bytes(make_entry(chain, archive))},
            {f"{FILES}/{path}": oid for path, oid in kept_files(chain).items()},
        )
        objects += inner
        leaves[entry_path(chain.job.id)] = ("40000", tree)
    return leaves


def _seal(
    tree: str, parents: Sequence[str], subject: str, signer: Signer, ids: Sequence[str]
) -> GitObject:
    lines = [f"kakeya: {records.clean_text(subject, 200)}", "", *ids]
    message = "\n".join([*lines, "", f"nonce {signer.nonce}", "[skip ci]"])
    return seal_tree(
        tree, parents=parents, message=message, author=signer.author, when_s=signer.when_s
    )


def _digest_in(key_ref: str) -> str:
    return key_ref.rpartition("/")[2]


def _note_of(git: Git, commit: str) -> bytes | None:
    """The file `key.json` of a key's commit, None where that is no key's commit."""
    try:
        tree = parse_commit(git.read(commit)[1])[0]
        row = parse_tree(git.read(tree)[1]).get("key.json")
        return git.read(row[1])[1] if row else None
    except CacheError:
        raise
    except KakeyaError:
        return None


def _owner(data: bytes) -> str | None:
    try:
        note: KeyNote = wire.parse("key", data)
    except KakeyaError:
        return None
    return note.id
