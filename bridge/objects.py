"""Git objects as values: blobs, trees and commits built in memory. Pure.

Building a commit in the process costs about 1 ms against 6 ms through git's own commands, leaves no
worktree or index touched, and gives the object id before anything is written or pushed, so that
the exact commit can be journalled first.

Source: gitformat-pack(5), git-hash-object(1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bridge.errors import IntegrityError

FOLDER_MODE = "40000"
_MAGIC = b"kakeya-objects/1\n"
_SIGNATURE = b"gpgsig "  # the header's name for SSH signatures too


@dataclass(frozen=True, slots=True)
class GitObject:
    """One git object: `kind` is blob, tree or commit; `data` its content without the header."""

    kind: str
    data: bytes

    @property
    def header(self) -> bytes:
        """What git puts before the content, to name it and to store it."""
        return f"{self.kind} {len(self.data)}".encode() + b"\0"

    @property
    def oid(self) -> str:
        """The object's SHA-1 id."""
        return hashlib.sha1(self.header + self.data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """The author and committer of a commit, and what signs it where they have a key.

    `sign` takes the commit's bytes and gives an armoured SSH signature.
    """

    name: str
    email: str
    sign: Callable[[bytes], bytes] | None = field(default=None, compare=False)

    def line(self, when_s: int) -> str:
        """The identity line of a commit at a Unix time, always in UTC."""
        return f"{_clean(self.name)} <{_clean(self.email)}> {when_s} +0000"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit that is not yet anywhere: its id, every object it adds, and the files of its tree.

    `files` maps each path of the whole tree to its blob's id, those taken over from the parent
    included; `objects` holds only what is new.
    """

    oid: str
    objects: tuple[GitObject, ...]
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The objects in one file, for a journal outside the cache."""
        parts = []
        for item in self.objects:
            parts += [f"{item.kind} {len(item.data)}\n".encode(), item.data]
        body = b"".join(parts)
        return _MAGIC + f"{self.oid} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def objects_from_bytes(data: bytes) -> tuple[str, tuple[GitObject, ...]]:
    """The commit id and the objects of a journal file.

    Raises:
        IntegrityError: the file is cut off, changed, or was not written by `Prepared.to_bytes`.
    """
    if not data.startswith(_MAGIC):
        raise IntegrityError("not a journal of git objects")
    head, _, body = data[len(_MAGIC) :].partition(b"\n")
    oid, _, checksum = head.decode("ascii", "replace").partition(" ")
    if hashlib.sha256(body).hexdigest() != checksum:
        raise IntegrityError("the journal of git objects is cut off or changed")
    objects = []
    at = 0
    while at < len(body):
        begin = body.index(b"\n", at) + 1
        kind, _, size = body[at : begin - 1].decode("ascii").partition(" ")
        at = begin + int(size)
        objects.append(GitObject(kind, body[begin:at]))
    if not objects or objects[-1].oid != oid:
        raise IntegrityError("the journal of git objects does not hold its commit")
    return oid, tuple(objects)


@dataclass(frozen=True, slots=True)
class Base:
    """The commit of a branch that a request stands on, and what its root folder holds.

    `entries` maps each name to (mode, object id).
    """

    oid: str
    entries: Mapping[str, tuple[str, str]]


def is_plain_path(path: str) -> bool:
    """Whether every part of a slash-separated path is an ordinary name, and none is git's own."""
    folded = [part.casefold().rstrip(". ") for part in path.split("/")]
    return all(part and part != ".git" and not part.startswith("git~") for part in folded)


def build_commit(
    new_files: Mapping[str, bytes],
    *,
    kept_files: Mapping[str, str],
    parents: Iterable[str],
    message: str,
    author: Identity,
    when_s: int,
    base: Base | None = None,
) -> Prepared:
    """A commit whose tree is `kept_files` (path to blob id) with `new_files` laid over it.

    Where there is a `base`, the tree holds its entries too, but for names that the files take.

    Raises:
        IntegrityError: a path that git or a file system reads as something else, or one that is a
            file and a folder at once.
    """
    tree_oid, objects = build_files(new_files, kept_files, base)
    blobs = {path: GitObject("blob", data).oid for path, data in new_files.items()}
    commit = seal_tree(tree_oid, parents=parents, message=message, author=author, when_s=when_s)
    return Prepared(commit.oid, (*objects, commit), {**kept_files, **blobs})


def build_files(
    new_files: Mapping[str, bytes], kept_files: Mapping[str, str], base: Base | None = None
) -> tuple[str, tuple[GitObject, ...]]:
    """The tree of `kept_files` with `new_files` laid over it, and its blobs and trees.

    Raises:
        IntegrityError: as `build_commit`.
    """
    strange = sorted(path for path in new_files if not is_plain_path(path))
    if strange:
        raise IntegrityError(f"{strange[0]!r} cannot be a path in a commit")
    blobs = {path: GitObject("blob", data) for path, data in new_files.items()}
    files = {**kept_files, **{path: blob.oid for path, blob in blobs.items()}}
    tree_oid, trees = _build_trees(files, base.entries if base else {})
    return tree_oid, (*blobs.values(), *trees)


def seal_tree(
    tree_oid: str, *, parents: Iterable[str], message: str, author: Identity, when_s: int
) -> GitObject:
    """The commit object over a tree that is there already, signed where its author signs."""
    who = author.line(when_s)
    lines = [f"tree {tree_oid}", *(f"parent {oid}" for oid in parents)]
    text = message.replace("\0", " ").rstrip("\n")  # git would read no further than a NUL
    lines += [f"author {who}", f"committer {who}", "", text, ""]
    data = "\n".join(lines).encode()
    if author.sign is not None:
        head, _, body = data.partition(b"\n\n")
        signature = author.sign(data).rstrip(b"\n").replace(b"\n", b"\n ")
        data = head + b"\n" + _SIGNATURE + signature + b"\n\n" + body
    return GitObject("commit", data)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed commit: the bytes that were signed, and the signature over them."""

    payload: bytes
    signature: bytes


def split_signature(data: bytes) -> Sealed | None:
    """The signature in a commit object and what it covers, None where there is none.

    A commit with two of them comes back with a signature that fits nothing.
    """
    head, blank, body = data.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    inside = False
    for line in head.split(b"\n"):
        if inside and line.startswith(b" "):
            signature.append(line[1:])
            continue
        inside = line.startswith(_SIGNATURE)
        (signature if inside else kept).append(line.removeprefix(_SIGNATURE) if inside else line)
    if not signature:
        return None
    return Sealed(b"\n".join(kept) + blank + body, b"\n".join(signature) + b"\n")


def _build_trees(
    files: Mapping[str, str], below: Mapping[str, tuple[str, str]]
) -> tuple[str, list[GitObject]]:
    entries: dict[str, tuple[str, str]] = {}
    folders: dict[str, dict[str, str]] = {}
    for path, oid in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = oid
        else:
            entries[head] = ("100644", oid)
    both = entries.keys() & folders.keys()
    if both:
        raise IntegrityError(f"{min(both)!r} is a file and a folder at once")
    trees: list[GitObject] = []
    for name, inner in folders.items():
        oid, inner_trees = _build_trees(inner, {})
        entries[name] = ("40000", oid)
        trees += inner_trees
    tree = build_tree({**below, **entries})
    return tree.oid, [*trees, tree]


def build_tree(entries: Mapping[str, tuple[str, str]]) -> GitObject:
    """The tree object of `entries`, name to (mode, object id): the inverse of `parse_tree`."""
    # git sorts a folder as if its name ended in a slash
    order = sorted(
        (f"{name}/" if mode == "40000" else name).encode("utf-8", "surrogateescape")
        for name, (mode, _) in entries.items()
    )
    rows = []
    for key in order:
        name = key.decode("utf-8", "surrogateescape").removesuffix("/")
        mode, oid = entries[name]
        encoded = name.encode("utf-8", "surrogateescape")
        rows.append(mode.encode() + b" " + encoded + b"\0" + bytes.fromhex(oid))
    return GitObject("tree", b"".join(rows))


def parse_tree(data: bytes) -> dict[str, tuple[str, str]]:
    """The entries of a tree object: name to (mode, id).

    Raises:
        IntegrityError: the object is cut off, or names an entry twice.
    """
    entries: dict[str, tuple[str, str]] = {}
    at = 0
    while at < len(data):
        space, nul = data.find(b" ", at), data.find(b"\0", at)
        if space < 0 or nul < space or nul + 21 > len(data):
            raise IntegrityError("a tree object is cut off")
        name = data[space + 1 : nul].decode("utf-8", "surrogateescape")
        if name in entries:
            raise IntegrityError(f"a tree names {name!r} twice")
        mode = data[at:space].decode("ascii", "replace")
        entries[name] = (mode, data[nul + 1 : nul + 21].hex())
        at = nul + 21
    return entries


def parse_commit(data: bytes) -> tuple[str, tuple[str, ...], str]:
    """The tree, the parents and the message of a commit object."""
    head, _, message = data.partition(b"\n\n")
    tree = ""
    parents: list[str] = []
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"tree" and not tree:
            tree = value.decode("ascii", "replace")
        elif key == b"parent":
            parents.append(value.decode("ascii", "replace"))
    return tree, tuple(parents), message.decode("utf-8", "replace")


def _clean(text: str) -> str:
    kept = "".join(char for char in text if char.isprintable() and char not in "<>\n")
    return kept.strip() or "unknown"
