"""What stands at `<root>/art/<sha256>`: one commit of a fixed shape, made and read. Pure but for
the objects that a reader is given.

```
art.json     its digest, its size, and how it is kept
parts/0000   the content, 8 MiB a file: a server refuses larger ones (GitHub: 100 MB)
content      or, in the place of parts/: a git-lfs pointer
```
The tree follows from the content alone; the commit names the job that it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from bridge import wire
from bridge.errors import IntegrityError, KakeyaError
from bridge.git import RefTip
from bridge.git.lfs import POINTER_BYTES, read_pointer
from bridge.objects import GitObject, Identity, build_tree, parse_commit, parse_tree, seal_tree
from bridge.records import ArtNote

PART_BYTES = 8 * 2**20
_MAX_PARTS = 10_000
_MAX_TREE_BYTES = 2**20
_NOTE, _PARTS, _POINTER = "art.json", "parts", "content"
_SUBJECT = re.compile(
    r"kakeya: (artifact|checkpoint) of ([0-7][0-9A-HJKMNP-TV-Z]{25}), [0-9a-z ,]+\Z"
)


class Objects(Protocol):
    """Where objects are read."""

    def read_blob(self, oid: str, max_bytes: int, wanted: str = "blob") -> bytes:
        """The content of an object, refused by its size before it is read."""
        ...


@dataclass(frozen=True, slots=True)
class Owner:
    """The job that an art ref belongs to: `kind` is artifact or checkpoint."""

    kind: str
    job: str
    detail: str


def read_owner(tip: RefTip) -> Owner | None:
    """Whom a ref's commit says it belongs to, None where it says nothing of ours."""
    match = _SUBJECT.match(tip.subject)
    return Owner(match[1], match[2], "") if match else None


@dataclass(frozen=True, slots=True)
class Layout:
    """The tree of one artifact, with the objects of it that are not parts."""

    size: int
    store: str
    parts: tuple[str, ...]
    tree: str
    objects: tuple[GitObject, ...]

    @classmethod
    def of_parts(cls, sha256: str, size: int, parts: Sequence[str]) -> Layout:
        """The layout of content that lies in parts, by their ids."""
        names = dict(zip(part_names(size), parts, strict=True))
        folder = build_tree({name: ("100644", oid) for name, oid in names.items()})
        return cls._make(sha256, size, "parts", parts, (_PARTS, "40000", folder))

    @classmethod
    def of_pointer(cls, sha256: str, size: int, pointer: bytes) -> Layout:
        """The layout of content that git-lfs keeps."""
        blob = GitObject("blob", pointer)
        return cls._make(sha256, size, "lfs", (), (_POINTER, "100644", blob))

    @classmethod
    def _make(
        cls,
        sha256: str,
        size: int,
        store: str,
        parts: Sequence[str],
        entry: tuple[str, str, GitObject],
    ) -> Layout:
        name, mode, item = entry
        data = wire.to_bytes(ArtNote(f"sha256:{sha256}", size, store))
        note = GitObject("blob", data)
        tree = build_tree({_NOTE: ("100644", note.oid), name: (mode, item.oid)})
        return cls(size, store, tuple(parts), tree.oid, (note, item, tree))


def part_names(size: int) -> list[str]:
    """The names of the parts that content of `size` bytes has; at least one."""
    return [f"{number:04d}" for number in range(_count_parts(size))]


def _count_parts(size: int) -> int:
    return max(1, -(-size // PART_BYTES))


def seal_art(tree: str, owner: Owner, sha256: str, author: Identity, when_s: int) -> GitObject:
    """The commit that an art ref points at."""
    detail = f", {owner.detail}" if owner.detail else ""
    subject = f"kakeya: {owner.kind} of {owner.job}{detail}, sha256 {sha256[:12]}"
    message = f"{subject}\n\nsha256:{sha256}\n\n[skip ci]"
    return seal_tree(tree, parents=(), message=message, author=author, when_s=when_s)


def read_layout(git: Objects, commit: str, sha256: str, where: str) -> Layout:
    """The layout at an art ref, judged by its shape; its content is still unread.

    Raises:
        IntegrityError: no commit of this shape, or one of another digest.
    """
    try:
        return _read(git, commit, sha256)
    except (IntegrityError, UnicodeDecodeError) as error:
        reason = error.message if isinstance(error, IntegrityError) else "no name of ours"
        raise IntegrityError(
            f"no artifact lies there: {reason}",
            where=where,
            remedy="do not use it; kakeya_remote bus check names refs like this one",
        ) from error


def _read(git: Objects, commit: str, sha256: str) -> Layout:
    tree, parents, _ = parse_commit(_object(git, commit, "commit"))
    if parents:
        raise IntegrityError("the commit has parents")
    rows = parse_tree(_object(git, tree, "tree"))
    note = _read_note(git, rows)
    if note.sha256 != f"sha256:{sha256}":
        raise IntegrityError(f"its record speaks of {note.sha256}")
    if note.store == "lfs":
        (oid,) = _plain(rows, {_NOTE, _POINTER}, _POINTER)
        pointer = git.read_blob(oid, POINTER_BYTES)
        if read_pointer(pointer) != (sha256, note.bytes):
            raise IntegrityError("its LFS pointer is none, or names another object")
        return Layout.of_pointer(sha256, note.bytes, pointer)
    if rows.keys() != {_NOTE, _PARTS} or rows[_PARTS][0] != "40000":
        raise IntegrityError(f"its files are {_names(rows)}")
    if _count_parts(note.bytes) > _MAX_PARTS:
        raise IntegrityError(f"it says that it has {_count_parts(note.bytes)} parts")
    names = part_names(note.bytes)
    parts = parse_tree(_object(git, rows[_PARTS][1], "tree"))
    return Layout.of_parts(sha256, note.bytes, _plain(parts, set(names), *names))


def _read_note(git: Objects, rows: dict[str, tuple[str, str]]) -> ArtNote:
    (oid,) = _plain({_NOTE: rows[_NOTE]} if _NOTE in rows else {}, {_NOTE}, _NOTE)
    try:
        return cast("ArtNote", wire.parse("art", git.read_blob(oid, POINTER_BYTES)))
    except IntegrityError:
        raise
    except KakeyaError as error:
        raise IntegrityError(f"its record cannot be read: {error}") from error


def _plain(rows: dict[str, tuple[str, str]], expected: set[str], *wanted: str) -> tuple[str, ...]:
    """The ids of the plain files `wanted` of a folder that holds the `expected` names alone."""
    if rows.keys() != expected:
        raise IntegrityError(f"its files are {_names(rows)}")
    for name in wanted:
        if rows[name][0] != "100644":
            raise IntegrityError(f"{name} has mode {rows[name][0]}; only plain files are taken")
    return tuple(rows[name][1] for name in wanted)


def _names(rows: dict[str, tuple[str, str]]) -> str:
    shown = [ascii(name)[:40] for name in sorted(rows)[:4]]
    more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
    return f"{', '.join(shown) or 'none'}{more}"


def _object(git: Objects, oid: str, wanted: str) -> bytes:
    return git.read_blob(oid, _MAX_TREE_BYTES, wanted)
