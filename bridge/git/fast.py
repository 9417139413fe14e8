"""The bus's clones over smart HTTP without git processes: objects and refs live in memory.

The git clone of the same place stands behind, for whatever the fast path leaves to git: code,
large files, whole lists, and everything for a while after a surprise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bridge.canonical import is_oid, printable
from bridge.errors import BusError, CacheError, IntegrityError
from bridge.git.answers import PushReply, remedy
from bridge.git.pktline.lines import SurpriseError
from bridge.git.pktline.path import COMMITS, FastPath, Wish
from bridge.git.remote import Git
from bridge.git.repository import MAX_SUBJECT, RefTip
from bridge.objects import GitObject, parse_commit, parse_tree

_OBJECT_BYTES = 600  # what Python needs for an object beside its content
_MAX_ANCESTORS = 20_000
_MAX_EAGER = 16
_MAX_HAVES = 64
_ALL = "nothing left out"


class FastGit(Git):
    """A cache that speaks with its remote by itself; made by `create_fast`."""

    _path: FastPath

    @classmethod
    def create_fast(cls, path: Path, fast: FastPath, *, timeout_s: float) -> FastGit:
        """The cache at `path`, with nothing in memory yet."""
        git = cls.create_cache(path, timeout_s=timeout_s)
        assert isinstance(git, FastGit)
        git._path = fast
        return git

    def __init__(self, path: Path, *, timeout_s: float = 120.0, disposable: bool = False) -> None:
        super().__init__(path, timeout_s=timeout_s, disposable=disposable)
        self._objects: dict[str, GitObject] = {}
        self._pending: set[str] = set()
        self._tips: dict[str, RefTip] = {}
        self._whole: dict[str, str] = {}
        self._used_git = self._has_branches = False
        self.held_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether so much is in memory that it is better begun again."""
        return self.held_bytes > self._path.max_held_bytes

    # -- objects ---------------------------------------------------------------------------

    def store(self, objects: Iterable[GitObject]) -> None:
        """Keep objects for a push."""
        for item in objects:
            oid = item.oid
            if oid not in self._objects:
                self._pending.add(oid)
                self._keep(oid, item)

    def _keep(self, oid: str, item: GitObject) -> None:
        if oid not in self._objects:
            self._objects[oid] = item
            self.held_bytes += len(item.data) + _OBJECT_BYTES

    def read(self, oid: str) -> tuple[str, bytes]:
        """See `Repository.read`."""
        item = self._objects.get(oid)
        if item is not None:
            return item.kind, item.data
        if self._used_git:
            return super().read(oid)
        raise IntegrityError(f"object {printable(oid, 80)} is not here", where=str(self.path))

    def has(self, oid: str) -> bool:
        """See `Repository.has`."""
        return oid in self._objects or (self._used_git and super().has(oid))

    def is_ancestor(self, old: str, new: str) -> bool:
        """See `Repository.is_ancestor`."""
        seen, waiting = {new}, [new]
        while waiting and len(seen) < _MAX_ANCESTORS:
            oid = waiting.pop()
            if oid == old:
                return True
            with suppress(IntegrityError):
                kind, data = self.read(oid)
                parents = parse_commit(data)[1] if kind == "commit" else ()
                fresh = [parent for parent in parents if parent not in seen]
                seen.update(fresh)
                waiting += fresh
        return False

    # -- refs ------------------------------------------------------------------------------

    def tip_of(self, ref: str) -> str | None:
        """See `Repository.tip_of`."""
        tip = self._tips.get(ref)
        return tip.oid if tip else None

    def list_refs(self, prefix: str) -> dict[str, RefTip]:
        """See `Repository.list_refs`."""
        return {ref: tip for ref, tip in sorted(self._tips.items()) if ref.startswith(prefix)}

    def delete_ref(self, ref: str) -> None:
        """See `Repository.delete_ref`."""
        self._tips.pop(ref, None)
        if self._used_git:
            super().delete_ref(ref)

    # -- the remote ------------------------------------------------------------------------

    def fetch(
        self,
        url: str,
        refspecs: Sequence[str],
        *,
        depth: int | None = None,
        object_filter: str | None = None,
        prune: bool = False,
        again: bool = False,
        known: Sequence[str] = (),
        max_bytes: int | None = None,
        eager: str | None = None,
    ) -> None:
        """See `Git.fetch`."""
        if object_filter is not None and not again and not self._path.rests:
            try:
                wish = Wish(depth, object_filter, tuple(known), max_bytes, prune)
                self._fetch(url, refspecs, wish, eager)
                return
            except SurpriseError as error:
                if error.rests:
                    self._path.rest(error.message)
            except TimeoutError as error:
                self._path.rest(str(error))
                raise BusError(str(error), where=url, remedy=remedy("")) from error
        super().fetch(
            url,
            refspecs,
            depth=depth,
            object_filter=object_filter,
            prune=prune,
            again=again,
            known=[oid for oid in known if oid not in self._objects],
            max_bytes=max_bytes,
        )
        self._used_git = True
        self._take_over(refspecs)

    def _fetch(self, url: str, refspecs: Sequence[str], wish: Wish, eager: str | None) -> None:
        named, wants, prefixes = _split(refspecs)
        there = self._path.list_refs(prefixes) if prefixes else {}
        tips: dict[str, str] = {}
        for source, local, is_pattern in named:
            if not is_pattern and source not in there:
                missing = f"fatal: couldn't find remote ref {source}"
                raise BusError(missing, where=url, remedy=remedy(missing))
            for ref, oid in there.items():
                if ref == source or (is_pattern and ref.startswith(source)):
                    tips[local + ref[len(source) :]] = oid
        new = [oid for local, oid in tips.items() if local not in self._tips]
        if eager is not None:
            self._bring_whole(new[:_MAX_EAGER], wish, eager)
        before = [self._tips[local].oid for local in tips if local in self._tips]
        known = (*wish.known, *before[:_MAX_HAVES])
        self._bring(tips.values(), replace(wish, known=known), wants.values())
        if wish.prune:
            gone = tuple(local for _, local, is_pattern in named if is_pattern)
            self._tips = {ref: tip for ref, tip in self._tips.items() if not ref.startswith(gone)}
        for local, oid in {**tips, **{name: oid for name, oid in wants.items() if name}}.items():
            self._point(local, oid)

    def _bring(self, tips: Iterable[str], wish: Wish, others: Iterable[str] = ()) -> None:
        """Fetch what is not here of `tips`, and `others` in any case."""
        wanted = {oid for oid in tips if not self._is_whole(oid, wish.object_filter)}
        asked = sorted({*wanted, *others})
        if not asked:
            return
        # to name a commit is to say that its trees are here too, unless none are asked for
        commits = wish.object_filter == COMMITS
        marks = {oid: self._whole.get(oid) for oid in wish.known}
        haves = [oid for oid, mark in marks.items() if mark and (commits or mark != COMMITS)]
        found = self._path.fetch(asked, wish, haves)
        for oid, item in found.items():
            self._keep(oid, item)
        self._pending -= found.keys()
        self._whole.update(dict.fromkeys(wanted, wish.object_filter))

    def _bring_whole(self, tips: Iterable[str], wish: Wish, object_filter: str) -> None:
        """Fetch tips that are new with more than the wish says, as far as that is no branch."""
        fresh = [oid for oid in tips if not self._is_whole(oid, wish.object_filter)]
        if not fresh or self._has_branches:
            return
        self._bring(fresh, replace(wish, object_filter=object_filter, depth=1, known=()))
        for oid in fresh:
            item = self._objects[oid]
            if item.kind == "commit" and parse_commit(item.data)[1]:
                del self._whole[oid]  # more belongs to it than its newest commit
                self._has_branches = self._has_branches or _is_branch(item)

    def _is_whole(self, oid: str, object_filter: str) -> bool:
        """Whether all is here that a fetch of this tip with this filter would bring."""
        found = self._whole.get(oid)
        return found is not None and (found in (object_filter, _ALL) or object_filter == COMMITS)

    def _point(self, local: str, oid: str) -> None:
        known = self._tips.get(local)
        if known is None or known.oid != oid:
            self._tips[local] = RefTip(local, oid, _subject(self._objects.get(oid)))

    def _take_over(self, refspecs: Sequence[str]) -> None:
        """Take note of the refs that git has just fetched."""
        for _, local, is_pattern in _split(refspecs)[0]:
            if not is_pattern:
                oid = super().tip_of(local)
                found = {local: RefTip(local, oid, "")} if oid else {}
            else:
                folder = local[: local.rfind("/") + 1]
                found = super().list_refs(folder)
            kept = {ref: tip for ref, tip in self._tips.items() if not ref.startswith(local)}
            self._tips = kept | {ref: tip for ref, tip in found.items() if ref.startswith(local)}

    def push(
        self, url: str, updates: Sequence[tuple[str, str | None, str | None]], *, atomic: bool
    ) -> PushReply:
        """See `Git.push`; where this path cannot do it, `CacheError`: git begins with a clone."""
        del url  # the path knows it
        if not self._path.rests:
            try:
                commits = [new for _, _, new in updates if new]
                objects = self._closure(commits)
                reply = self._path.push(
                    updates, [self._objects[oid] for oid in objects], atomic=atomic
                )
            except SurpriseError as error:
                self._path.rest(error.message)
            except TimeoutError as error:
                self._path.rest(str(error))
                return PushReply(128, (), f"fatal: {error}")
            else:
                if reply.accepts(ref for ref, _, _ in updates):
                    self._settle(commits, objects)
                return reply
        raise CacheError("the fast path rests, git begins anew", where=str(self.path))

    def _closure(self, tips: Iterable[str]) -> list[str]:
        """The objects behind `tips` that were stored here and are not known to be there."""
        found: dict[str, None] = {}
        waiting = list(tips)
        while waiting:
            oid = waiting.pop()
            if oid in found or oid not in self._pending:
                continue
            found[oid] = None
            item = self._objects[oid]
            if item.kind == "commit":
                tree, parents, _ = parse_commit(item.data)
                waiting += [tree, *parents]
            elif item.kind == "tree":
                waiting += [inner for _, inner in parse_tree(item.data).values()]
        return list(found)

    def _settle(self, commits: Iterable[str], objects: Iterable[str]) -> None:
        """The remote has them now; a chain that was whole here is whole with its new commits."""
        self._pending.difference_update(objects)
        for oid in commits:
            chain = [oid]
            while chain[-1] not in self._whole:
                parents = parse_commit(self._objects[chain[-1]].data)[1]
                if not parents:
                    self._whole[chain[-1]] = _ALL
                elif len(parents) > 1 or parents[0] not in self._objects:
                    break
                else:
                    chain.append(parents[0])
            if (base := self._whole.get(chain[-1])) is not None:
                self._whole.update(dict.fromkeys(chain, base))


def _split(
    refspecs: Sequence[str],
) -> tuple[list[tuple[str, str, bool]], dict[str, str], list[str]]:
    """Refs as (remote, local, whether both are prefixes); local name to object id; prefixes."""
    named: list[tuple[str, str, bool]] = []
    wants: dict[str, str] = {}
    for refspec in refspecs:
        source, _, local = refspec.removeprefix("+").partition(":")
        if is_oid(source):
            wants[local or f" {source}"] = source
        else:
            named.append((source.removesuffix("*"), local.removesuffix("*"), "*" in source))
    return named, wants, sorted({source for source, _, _ in named})


def _is_branch(item: GitObject) -> bool:
    """Whether a request was made on top of a branch: the branch's files would come with it."""
    return _subject(item).startswith("kakeya: request")


def _subject(item: GitObject | None) -> str:
    """The first paragraph of a commit's message in one line, as git's `%(subject)`."""
    if item is None or item.kind != "commit":
        return ""
    paragraph = parse_commit(item.data)[2].lstrip("\n").partition("\n\n")[0]
    return printable(" ".join(paragraph.rstrip("\n").split("\n")), MAX_SUBJECT)
