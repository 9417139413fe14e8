"""Commits and trees of a fetched chain, read one by one and taken for nothing yet."""

from __future__ import annotations

from collections.abc import Callable

from bridge.bus.cache import Cache
from bridge.bus.chain import MAX_COMMITS, Commit, subject_event
from bridge.canonical import printable
from bridge.errors import CacheError, IntegrityError
from bridge.objects import Base, Sealed, is_plain_path, parse_commit, parse_tree, split_signature
from bridge.states import Event

_MAX_TREE_FILES = 5_000
_MAX_TREE_DEPTH = 8
_MAX_KNOWN_TREES = 2_000
_REQUEST_FILES = frozenset({"request.json", "request.sig"})
_Row = tuple[str, str, tuple[str, ...], str, Sealed | None]  # id, tree, parents, message


class History:
    """What lies in the cache's clone of the jobs; used inside `Cache.work`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._trees: dict[str, dict[str, str]] = {}

    def blob(self, oid: str) -> bytes:
        """The content of a blob.

        Raises:
            IntegrityError: it did not come with its chain (too large), or is no blob.
        """
        kind, data = self._cache.jobs.read(oid)
        if kind != "blob":
            raise IntegrityError(f"{oid} is a {kind}, expected a blob")
        return data

    def commit_or_tree(self, oid: str, wanted: str) -> bytes:
        """A commit or tree that came with a fetch, so that its absence is damage."""
        jobs = self._cache.jobs
        try:
            kind, data = jobs.read(oid)
        except IntegrityError as error:
            raise CacheError(error.message, where=str(jobs.path)) from error
        if kind != wanted:
            raise IntegrityError(f"{oid} is a {kind}, expected a {wanted}")
        return data

    def walk_campaign(self, tip: str, is_step: Callable[[str], bool]) -> list[Commit]:
        """The chain of a campaign that ends at `tip`, oldest commit first.

        Args:
            tip: its newest commit.
            is_step: whether a subject names a step; no other commit's tree is looked at.

        Raises:
            IntegrityError: as `walk`.
        """
        rows: list[_Row] = []
        oid: str | None = tip
        while oid is not None:
            if len(rows) >= MAX_COMMITS:
                raise IntegrityError(f"the chain has more than {MAX_COMMITS} commits")
            data = self.commit_or_tree(oid, "commit")
            tree, parents, message = parse_commit(data)
            rows.append((oid, tree, parents, message, split_signature(data)))
            oid = parents[0] if parents else None
        return [
            self._judge_tree(row, None, is_first=is_step(row[3].split("\n", 1)[0]))
            for row in reversed(rows)
        ]

    def walk(
        self, tip: str, known: str | None = None, base: Base | None = None
    ) -> tuple[list[Commit], bool]:
        """The chain that ends at `tip`, oldest commit first.

        Args:
            tip: its newest commit.
            known: a commit whose chain was walked before; what comes after it is enough.
            base: what that chain stands on.

        Returns:
            The commits, and whether they follow on `known` rather than begin the chain.

        Raises:
            IntegrityError: the ref points at no commit, or the chain is too long to read.
        """
        rows: list[_Row] = []
        oid: str | None = tip
        below: str | None = None
        while oid is not None and oid != known:
            if len(rows) >= MAX_COMMITS:
                raise IntegrityError(f"the chain has more than {MAX_COMMITS} commits")
            data = self.commit_or_tree(oid, "commit")
            tree, parents, message = parse_commit(data)
            rows.append((oid, tree, parents, message, split_signature(data)))
            below = parents[0] if parents and self._begins(message, parents[0]) else None
            oid = None if below or not parents else parents[0]
        follows = known is not None and oid == known
        if not follows:
            base = self._base(below) if below else None
        commits = [
            self._judge_tree(row, base, is_first=not follows and number == 0)
            for number, row in enumerate(reversed(rows))
        ]
        return commits, follows

    def _begins(self, message: str, parent: str) -> bool:
        """Whether a request is the child of a branch (Actions), and the chain begins with it.

        A request on top of one of our own commits begins nothing: it is a forged step.
        """
        if event_of(message) is not Event.REQUEST:
            return False
        return event_of(parse_commit(self.commit_or_tree(parent, "commit"))[2]) is None

    def _base(self, oid: str) -> Base:
        tree = parse_commit(self.commit_or_tree(oid, "commit"))[0]
        return Base(oid, parse_tree(self.commit_or_tree(tree, "tree")))

    def _judge_tree(self, row: _Row, base: Base | None, *, is_first: bool) -> Commit:
        oid, tree, parents, message, sealed = row
        if not is_first and event_of(message) is None:  # foreign: nothing in it is looked at
            return Commit(oid, parents, message, {}, sealed=sealed)
        try:
            if base is not None and is_first:
                self._check_request(tree, base)
            return Commit(oid, parents, message, self.files(tree, base=base), None, sealed, base)
        except IntegrityError as error:
            return Commit(oid, parents, message, {}, error.message, sealed, base)

    def _check_request(self, tree: str, base: Base) -> None:
        """A request on a branch brings its own file alone, so that nobody need read the rest.

        Raises:
            IntegrityError: it changes, adds or drops anything else.
        """
        entries = parse_tree(self.commit_or_tree(tree, "tree"))
        names = entries.keys() | base.entries.keys()
        changed = {name for name in names if entries.get(name) != base.entries.get(name)}
        if changed - _REQUEST_FILES:
            others = ", ".join(printable(repr(name), 80) for name in sorted(changed))
            raise IntegrityError(
                f"the request's commit changes {others} of the branch it stands on; "
                "it may add request.json and request.sig alone"
            )

    def files(self, tree: str, *, depth: int = 0, base: Base | None = None) -> dict[str, str]:
        """The files of a tree: path to blob id; what the root of `base` holds is left out.

        Raises:
            IntegrityError: it holds anything but plain files with plain names, or too many.
        """
        known = self._trees.get(tree)
        if known is not None and base is None:
            return known
        if depth > _MAX_TREE_DEPTH:
            raise IntegrityError(f"the tree is nested deeper than {_MAX_TREE_DEPTH} folders")
        files: dict[str, str] = {}
        for name, (mode, oid) in parse_tree(self.commit_or_tree(tree, "tree")).items():
            if base is not None and base.entries.get(name) == (mode, oid):
                continue
            if not (name.isprintable() and is_plain_path(name) and "/" not in name):
                raise IntegrityError(f"{printable(repr(name), 80)} cannot be the name of a file")
            if mode == "40000":
                inner = self.files(oid, depth=depth + 1)
                files.update({f"{name}/{path}": blob for path, blob in inner.items()})
            elif mode == "100644":
                files[name] = oid
            else:
                raise IntegrityError(f"{name!r} has mode {mode}; only plain files are taken")
            if len(files) > _MAX_TREE_FILES:
                raise IntegrityError(f"the tree holds more than {_MAX_TREE_FILES} files")
        if len(self._trees) > _MAX_KNOWN_TREES:
            self._trees.clear()
        if base is None:
            self._trees[tree] = files
        return files


def event_of(message: str) -> Event | None:
    """The event that a commit's message names, None for a foreign commit."""
    return subject_event(message.split("\n", 1)[0])
