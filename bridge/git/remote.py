"""A repository that speaks with a remote: the caches of a bus, and a checkout that pushes."""

from __future__ import annotations

import configparser
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bridge.canonical import is_oid, printable
from bridge.errors import BusError, IntegrityError, KakeyaError, TooLargeError, UsageError
from bridge.git.answers import (
    PushReply,
    explain,
    is_empty_match,
    is_full_disk,
    is_network,
    is_refused_object,
    is_too_large,
    parse_push,
    remedy,
)
from bridge.git.repository import Repository
from bridge.git.settings import CACHE_CONFIG, CACHE_REMOTE, check_url, load_library

_MARKER = "kakeya-cache"

# That the cache is filtered is said for the commands that must know, and never written down: git
# would fetch an absent object by itself whenever one is read, and 2.39 has no switch against it.
_PROMISOR = {
    f"remote.{CACHE_REMOTE}.promisor": "true",
    f"remote.{CACHE_REMOTE}.partialCloneFilter": "blob:none",
}
_LFS = {
    "lfs.locksverify": "false",
    "lfs.concurrenttransfers": "1",
    "lfs.activitytimeout": "30",
}


class Git(Repository):
    """One git repository and the few verbs the bridge needs; not for use by two threads at once."""

    @classmethod
    def create_cache(cls, path: Path, *, timeout_s: float = 120.0) -> Git:
        """Open the bare cache at `path`, made if it is not there, made again if it is damaged."""
        if (path / _MARKER).is_file():
            try:
                return cls(path, timeout_s=timeout_s, disposable=True)
            except (UsageError, configparser.Error, OSError, ValueError):
                pass
        shutil.rmtree(path, ignore_errors=True)
        _lay_out(path)
        return cls(path, timeout_s=timeout_s, disposable=True)

    @classmethod
    def create_bare(cls, path: Path, settings: Iterable[tuple[str, str]]) -> Git:
        """Open the bare repository at `path`, made if it is not there, and give it `settings`.

        Raises:
            UsageError: something else is there already.
        """
        if (path / ".git").exists() or (path.exists() and not path.is_dir()):
            raise UsageError(
                "is no bare repository", where=str(path), remedy="name a folder of its own"
            )
        if not (path / "HEAD").is_file() and path.is_dir() and any(path.iterdir()):
            raise UsageError(
                "holds other files", where=str(path), remedy="name a new or an empty folder"
            )
        repo: Any = load_library().Repo.init(path, bare=True, mkdir=True)
        with repo.config_writer() as config:
            for name, value in settings:
                section, _, option = name.rpartition(".")
                config.set_value(section, option, value)
        repo.close()
        return cls(path)

    @classmethod
    def find(cls, folder: Path) -> Git | None:
        """The checkout that holds `folder`, or None; nothing in it is changed."""
        for place in (folder, *folder.parents):
            if (place / ".git").exists():
                return cls(place)
        return None

    def __init__(self, path: Path, *, timeout_s: float = 120.0, disposable: bool = False) -> None:
        super().__init__(path, timeout_s=timeout_s, disposable=disposable)
        self._birth = self._read_marker()

    def is_current(self) -> bool:
        """Whether the cache is still the one that was opened, not deleted or made anew."""
        return self._birth is not None and self._read_marker() == self._birth

    def _read_marker(self) -> str | None:
        try:
            return (self.path / _MARKER).read_text("utf-8")
        except (OSError, ValueError):
            return None

    def tip_of(self, ref: str) -> str | None:
        """See `Repository.tip_of`; a cache's refs are loose, and read without a process."""
        if self.disposable and ref.startswith("refs/") and ".." not in ref:
            try:
                text = (self.path / ref).read_text("ascii").strip()
            except (OSError, ValueError):
                text = ""
            if is_oid(text):
                return text
        return super().tip_of(ref)

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
        """Fetch `refspecs` from `url`.

        Args:
            url: address of the remote.
            refspecs: what to fetch, and where to.
            depth: how many commits of each.
            object_filter: what to leave out, None for nothing.
            prune: forget what the patterns match here and not there.
            again: bring every object, as if none were here: a filter may have left some out.
            known: commits that the remote is told of, so that it need not send what they hold.
            max_bytes: what the pack that comes may have; for caches alone.
            eager: a filter that leaves out less, for the first few refs that are new here: whoever
                sees them reads them next. For the fast path alone; git takes one filter.

        Raises:
            BusError: the remote did not answer, refused, or lacks an exact ref that was named.
            CacheError: this repository is a cache, and damaged.
            IntegrityError: what the remote sent is no well-formed git object.
            TooLargeError: it sent more than `max_bytes`.
        """
        del eager
        arguments = ["--quiet", "--no-tags", "--force", "--no-write-fetch-head", "--no-auto-gc"]
        arguments += ["--no-recurse-submodules"]
        arguments += [f"--depth={depth}"] if depth else []
        arguments += [f"--filter={object_filter}" if object_filter else "--no-filter"]
        arguments += ["--prune"] if prune else []
        arguments += ["--refetch"] if again else []
        arguments += [f"--negotiation-tip={oid}" for oid in known]
        negotiation = {"fetch.negotiationAlgorithm": "consecutive" if known else "noop"}
        with self._address(url, negotiation) as remote:
            status, _, err = self._talk("fetch", *arguments, remote, *refspecs, max_bytes=max_bytes)
        if status and max_bytes is not None and is_too_large(err):
            self._drop_partial_packs()
            names = ", ".join(refspec.partition(":")[0].lstrip("+") for refspec in refspecs)
            raise TooLargeError(
                f"more than {max_bytes / 2**20:.0f} MiB would come; nothing of it was taken",
                where=printable(names, 400),
                remedy="look at who pushed it; kakeya_remote bus check names what is wrong",
            )
        if status and not (depth and is_empty_match(status, err)):
            raise self._failure(url, err)

    def push(
        self, url: str, updates: Sequence[tuple[str, str | None, str | None]], *, atomic: bool
    ) -> PushReply:
        """Push (ref, expected old id or None for absent, new id or None to delete) with leases.

        Raises:
            CacheError: this repository is a cache, and damaged.
        """
        arguments = ["--porcelain", "--no-verify", *(["--atomic"] if atomic else [])]
        for ref, old, _ in updates:
            arguments.append(f"--force-with-lease={ref}:{old or ''}")
        refspecs = [f"{new or ''}:{ref}" for ref, _, new in updates]
        assert refspecs, "git push without a refspec would push what it likes"
        with self._address(url) as remote:
            reply = parse_push(*self._talk("push", *arguments, remote, *refspecs))
        if reply.status and not reply.is_refusal and self._is_to_blame(reply.stderr):
            raise self._fault(explain(reply.stderr))
        return reply

    def list_remote(self, url: str, patterns: Sequence[str]) -> dict[str, str]:
        """`ls-remote`: ref to id. It lists every ref on the wire: for set-up and doctor only."""
        with self._address(url) as remote:
            status, out, err = self._talk("ls-remote", "--quiet", remote, *patterns)
        if status:
            raise self._failure(url, err)
        rows = (row.split("\t", 1) for row in out.split("\n") if "\t" in row)
        return {ref: oid for oid, ref in rows}

    def lfs(
        self, url: str, verb: str, *arguments: str, max_bytes: int | None = None
    ) -> tuple[int, str, str]:
        """Run git-lfs with the remote as its first argument; see `bridge.git.lfs`."""
        with self._address(url, _LFS) as remote:
            return self._talk("lfs", verb, remote, *arguments, max_bytes=max_bytes)

    def _talk(
        self, verb: str, *arguments: str, max_bytes: int | None = None
    ) -> tuple[int, str, str]:
        return self._call(verb, *arguments, timeout_s=self.timeout_s, max_file_bytes=max_bytes)

    def _drop_partial_packs(self) -> None:
        for path in (self.path / "objects" / "pack").glob("tmp_*"):
            path.unlink(missing_ok=True)

    def _failure(self, url: str, stderr: str) -> KakeyaError:
        if is_refused_object(stderr):
            return IntegrityError(f"git refuses what was sent: {explain(stderr)}", where=url)
        if self._is_to_blame(stderr):
            return self._fault(explain(stderr))
        return BusError(explain(stderr), where=url, remedy=remedy(stderr))

    def _is_to_blame(self, stderr: str) -> bool:
        """Whether a failure lies in this cache: asked only after one, since it reads all of it."""
        if not self.disposable or is_network(stderr):
            return False
        return is_full_disk(stderr) or not self.is_sound()

    def is_sound(self) -> bool:
        """Whether git can read all that is said to be here, and nobody left a lock behind."""
        with self._settings(_PROMISOR if self.disposable else {}):
            return super().is_sound()

    @contextmanager
    def _address(self, url: str, settings: Mapping[str, str] | None = None) -> Iterator[str]:
        """What to call the remote: the address itself, or the cache's remote given that address."""
        check_url(url)
        if not self.disposable:
            yield url
            return
        address = {f"remote.{CACHE_REMOTE}.url": url, **_PROMISOR}
        with self._settings({**address, **(settings or {})}):
            yield CACHE_REMOTE

    @contextmanager
    def _settings(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Give git more configuration for a while, after what the environment gives already."""
        first = int(os.environ.get("GIT_CONFIG_COUNT", "0") or 0)
        entries = {"GIT_CONFIG_COUNT": str(first + len(settings))} if settings else {}
        for number, (name, value) in enumerate(settings.items(), first):
            entries[f"GIT_CONFIG_KEY_{number}"] = name
            entries[f"GIT_CONFIG_VALUE_{number}"] = value
        with self._repo.git.custom_environment(**entries):
            yield


def _lay_out(path: Path) -> None:
    """An empty bare repository, by hand: git init would obey the caller's variables."""
    for folder in ("objects/info", "objects/pack", "refs/heads"):
        (path / folder).mkdir(parents=True)
    (path / "HEAD").write_text("ref: refs/heads/main\n", "ascii")
    (path / "config").write_text(CACHE_CONFIG, "ascii")
    text = f"a disposable cache; safe to delete\n{secrets.token_hex(8)}\n"
    (path / _MARKER).write_text(text, "utf-8")  # last: what has it is whole
