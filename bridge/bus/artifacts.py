"""Artifacts at refs of their own: `<root>/art/<sha256>`, named by what they hold.

Such a ref is created once and never moved: whoever has the content can tell whether what stands
there is it. Each call works in a clone of its own, made for it and deleted after it, so that a long
transfer keeps no poll and no heartbeat waiting and any thread may call.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bridge.bus.art import PART_BYTES, Layout, Owner, part_names, read_layout, read_owner, seal_art
from bridge.bus.contents import BLOCK_BYTES, hash_file, write_checked
from bridge.bus.refs import Refs
from bridge.errors import (
    BusError,
    IntegrityError,
    KakeyaError,
    MissingArtifactError,
    TooLargeError,
)
from bridge.git import Git, PushReply, says_no
from bridge.git.lfs import fetch_object, lfs_path, push_object, write_pointer
from bridge.objects import GitObject, Identity, parse_commit

_MIB = 2**20
_SLACK_BYTES = 2 * _MIB
_BYTES_PER_S = _MIB // 2  # a transfer that is slower for all of its length is given up
_RETRIES = 5
_LOCAL = "refs/art/it"
_STALE_S = 86_400.0


@dataclass(frozen=True, slots=True)
class ArtLimits:
    """How large an artifact may be, in MiB.

    Attributes:
        art_mb: largest one that is pushed as git objects; `bus init` takes 128 MiB in one push.
        lfs_from_mb: from this size on it goes through git-lfs, None for never.
        lfs_mb: largest one that goes through git-lfs.
        fetch_mb: largest one that is fetched.
    """

    art_mb: int = 96
    lfs_from_mb: int | None = None
    lfs_mb: int = 4096
    fetch_mb: int = 4096


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact that is on the bus: its digest, its size, and the commit its ref points at."""

    sha256: str
    bytes: int
    ref: str
    oid: str


class ArtStore:
    """Puts artifacts on one bus and gets them from there; safe for use by several threads.

    Args:
        url: address of the git remote.
        refs: names under the bus's root.
        folder: takes the clones; it may be deleted at will.
        timeout_s: hard limit of one git command, longer for what takes longer to send.
        limits: how large an artifact may be.
        say: told what a person should know, in one line.
        pause: how to wait between retries, in seconds.
    """

    def __init__(
        self,
        url: str,
        refs: Refs,
        folder: Path,
        *,
        timeout_s: float,
        limits: ArtLimits,
        say: Callable[[str], None] = lambda _: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url, self._refs, self._folder = url, refs, folder
        self._timeout_s, self.limits = timeout_s, limits
        self._say, self._pause = say, pause

    # -- putting ---------------------------------------------------------------------------

    def put(self, file: IO[bytes], owner: Owner, author: Identity, when_s: int) -> Stored:
        """Bring a file's content to the bus, unless it is there.

        Args:
            file: opened by the caller, who has seen to it that it is a plain file.
            owner: which job it belongs to, and as what.
            author: who pushes.
            when_s: Unix time, by which it is kept or expired.

        Raises:
            TooLargeError: larger than what may be put there.
            BusError: the remote does not answer, or refuses.
            IntegrityError: the file changed while it was read.
        """
        size = os.fstat(file.fileno()).st_size
        sha256 = hash_file(file, size)
        ref = self._refs.art(sha256)
        with self._clone(size) as git:
            layout = self._store(git, file, sha256, size)
            commit = seal_art(layout.tree, owner, sha256, author, when_s)
            git.store([commit])
            oid = self._push(git, ref, commit.oid, sha256, size)
        return Stored(f"sha256:{sha256}", size, ref, oid)

    def _store(self, git: Git, file: IO[bytes], sha256: str, size: int) -> Layout:
        """The objects of one artifact, in the clone; through git-lfs where that is set and works.

        Raises as `put`.
        """
        lfs_from_mb = self.limits.lfs_from_mb
        if lfs_from_mb is not None and lfs_from_mb * _MIB <= size <= self.limits.lfs_mb * _MIB:
            try:
                return self._store_lfs(git, file, sha256, size)
            except KakeyaError as error:
                self._say(f"LFS cannot be used, the artifact goes to a ref as it is: {error}")
        if size > self.limits.art_mb * _MIB:
            raise TooLargeError(
                f"{size / _MIB:.0f} MiB, a ref of its own takes {self.limits.art_mb} MiB",
                where=f"sha256:{sha256}",
                remedy="artifacts.art_mb or artifacts.lfs_from_mb in the runner's file",
            )
        return self._store_parts(git, file, sha256, size)

    def _store_parts(self, git: Git, file: IO[bytes], sha256: str, size: int) -> Layout:
        file.seek(0)
        seen, parts = hashlib.sha256(), []
        for _ in part_names(size):
            data = file.read(PART_BYTES)
            seen.update(data)
            part = GitObject("blob", data)
            git.store([part])
            parts.append(part.oid)
        _expect(seen.hexdigest(), sha256)
        layout = Layout.of_parts(sha256, size, parts)
        git.store(layout.objects)
        return layout

    def _store_lfs(self, git: Git, file: IO[bytes], sha256: str, size: int) -> Layout:
        path = lfs_path(git, sha256)
        path.parent.mkdir(parents=True)
        file.seek(0)
        with path.open("xb") as copy:
            shutil.copyfileobj(file, copy, BLOCK_BYTES)
        push_object(git, self._url, sha256)
        path.unlink()
        layout = Layout.of_pointer(sha256, size, write_pointer(sha256, size))
        git.store(layout.objects)
        return layout

    def _push(self, git: Git, ref: str, oid: str, sha256: str, size: int) -> str:
        """Create the ref; what its tip is then."""
        old: str | None = None
        for attempt in range(_RETRIES):
            reply = git.push(self._url, [(ref, old, oid)], atomic=False)
            if reply.accepts([ref]):
                return oid
            there = self._look(ref)
            if there is not None and there[1] in _trees(sha256, size, git, oid):
                return there[0]
            _check_refusal(self._url, ref, reply)
            if there is not None and there[0] != old:
                self._say(f"{ref} held something else than its name says; it is replaced")
                old = there[0]
            else:
                self._pause(0.1 * 2**attempt)
        raise BusError("the push of an artifact is not settled", where=f"{self._url} {ref}")

    def _look(self, ref: str) -> tuple[str, str] | None:
        """The commit and the tree that stand at a ref now; None where there is none.

        In a clone of its own: git would not push what it believes the remote to have by then.
        """
        with self._clone(0) as git:
            git.fetch(
                self._url,
                [f"+{ref}*:{_LOCAL}*"],
                depth=1,
                object_filter="tree:0",
                max_bytes=_SLACK_BYTES + self.limits.fetch_mb * _MIB,
            )
            tip = git.tip_of(_LOCAL)
            return None if tip is None else (tip, parse_commit(git.read(tip)[1])[0])

    # -- getting ---------------------------------------------------------------------------

    def get(self, digest: str, target: Path, *, max_bytes: int | None = None) -> int:
        """Write the artifact `digest` (`sha256:<hex>`) to the new file `target`; its size.

        Raises:
            MissingArtifactError: there is no such artifact.
            IntegrityError: what lies there is not it.
            TooLargeError: it is larger than `max_bytes`, or than `limits.fetch_mb`.
            BusError: the remote does not answer.
        """
        sha256 = digest.removeprefix("sha256:")
        ref = self._refs.art(sha256)
        bound = min(self.limits.fetch_mb * _MIB, max_bytes or self.limits.fetch_mb * _MIB)
        with self._clone(bound) as git:
            refspec = f"+{ref}*:{_LOCAL}*"
            git.fetch(self._url, [refspec], depth=1, max_bytes=bound + bound // 64 + _SLACK_BYTES)
            commit = git.tip_of(_LOCAL)
            if commit is None:
                raise MissingArtifactError(
                    "the bus holds no artifact of this digest",
                    where=ref,
                    remedy="name it by its job, ID:path; it may have expired (bus fold)",
                )
            layout = read_layout(git, commit, sha256, ref)
            if layout.size > bound:
                raise TooLargeError(
                    f"{layout.size / _MIB:.0f} MiB, at most {bound / _MIB:.0f} are taken",
                    where=ref,
                )
            pieces = (
                self._read_lfs(git, commit, sha256, layout.size)
                if layout.store == "lfs"
                else (git.read_blob(oid, PART_BYTES) for oid in layout.parts)
            )
            return write_checked(pieces, sha256, layout.size, target, where=ref)

    def _read_lfs(self, git: Git, commit: str, sha256: str, size: int) -> Iterator[bytes]:
        path = fetch_object(git, self._url, commit, sha256, size)
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def discard(self, job_id: str, digests: Container[str] | None = None) -> int:
        """Delete checkpoints of a job, all or those of `digests`, and nothing else; how many.

        Raises:
            BusError: the remote does not answer.
        """
        with self._clone(0) as git:
            refspec = f"+{self._refs.root}/art/*:refs/art/*"
            git.fetch(self._url, [refspec], depth=1, object_filter="tree:0")
            rows: list[tuple[str, str | None, str | None]] = []
            for name, tip in git.list_refs("refs/art/").items():
                sha256 = name.removeprefix("refs/art/")
                owner = read_owner(tip)
                if owner is None or (owner.kind, owner.job) != ("checkpoint", job_id):
                    continue
                if digests is None or f"sha256:{sha256}" in digests:
                    rows.append((self._refs.art(sha256), tip.oid, None))
            if rows:
                git.push(self._url, rows, atomic=False)
            return len(rows)

    @contextmanager
    def _clone(self, size: int) -> Iterator[Git]:
        """A clone for one transfer; those that a killed process left are cleared away."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.git"):
            if time.time() - path.stat().st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)
        path = self._folder / f"{secrets.token_hex(8)}.git"
        git = Git.create_cache(path, timeout_s=self._timeout_s + size / _BYTES_PER_S)
        try:
            yield git
        finally:
            git.close()
            shutil.rmtree(path, ignore_errors=True)


def _expect(found: str, sha256: str) -> None:
    if found != sha256:
        raise IntegrityError("the file changed while it was read", where=f"sha256:{sha256}")


def _trees(sha256: str, size: int, git: Git, oid: str) -> frozenset[str]:
    """The trees that this content may have: the one of `oid`, or a pointer to it."""
    own = parse_commit(git.read(oid)[1])[0]
    pointer = Layout.of_pointer(sha256, size, write_pointer(sha256, size))
    return frozenset({own, pointer.tree})


def _check_refusal(url: str, ref: str, reply: PushReply) -> None:
    reason = reply.reason(ref)
    if says_no(reason):
        raise BusError(
            f"the remote refuses {ref}: {reason}",
            where=url,
            remedy="check that this machine may push below the bus's root, and how much at once",
        )
