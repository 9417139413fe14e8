"""The one module that calls git, through GitPython, with fixed arguments.

No string of a request is ever an option, a URL or a config value here: refs come from
`bridge.bus.refs`, object ids are checked, and URLs are the operator's own settings.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.canonical import is_oid
from bridge.errors import BusError, IntegrityError, UsageError
from bridge.objects import GitObject

MISSING = "0" * 40
_REMOTE = "bus"
# The cache's remote has no usable address of its own: a filtered cache fetches absent objects by
# itself, and git 2.39 has no switch against it. Every wanted fetch names the address.
_NO_ADDRESS = "file:///dev/null"
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ASKPASS": "true",
    "GIT_HTTP_LOW_SPEED_LIMIT": "100",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
    "GIT_OPTIONAL_LOCKS": "0",
}
_CONFIG = (
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.negotiationAlgorithm", "noop"),
    ("fetch.fsckObjects", "true"),
    ("fetch.writeCommitGraph", "false"),
    ("protocol.version", "2"),
    ("protocol.ext.allow", "never"),
    ("core.logAllRefUpdates", "false"),
    ("core.hooksPath", "/dev/null"),
    ("push.negotiate", "false"),
    ("advice.detachedHead", "false"),
)
_PORCELAIN = re.compile(r"^([ +\-*!=])\t([^:\t]*):([^\t]+)\t(.*)$")


@dataclass(frozen=True, slots=True)
class PushLine:
    """What `git push --porcelain` said of one ref: its flag character and its summary."""

    ref: str
    flag: str
    summary: str


@dataclass(frozen=True, slots=True)
class PushReply:
    """The whole answer to a push: exit status, a line for each ref it spoke of, and stderr."""

    status: int
    lines: tuple[PushLine, ...]
    stderr: str


@dataclass(frozen=True, slots=True)
class RefTip:
    """A ref with the commit it points at and that commit's subject."""

    ref: str
    oid: str
    subject: str


def scrub_environment() -> None:
    """Forget the `GIT_*` variables of a calling git (a hook, an alias): they point elsewhere."""
    kept = {"GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY", "GIT_TRACE"}
    for name in list(os.environ):
        if name.startswith("GIT_") and name not in kept and not name.startswith("GIT_CONFIG"):
            del os.environ[name]


def check_url(url: str) -> str:
    """The URL or path of a remote, refused where git could read it as something else.

    Raises:
        UsageError: empty, an option, a helper (`ext::`), or with control characters.
    """
    bad = not url or url.startswith("-") or "::" in url.split("/", 1)[0] or not url.isprintable()
    if bad:
        raise UsageError(
            f"{url!r} is no address of a git remote",
            where="bus",
            remedy="give a path, or an ssh, https, http, git or file URL",
        )
    return url


class Git:
    """One git repository and the few verbs the bridge needs; not for use by two threads at once.

    Args:
        path: the repository (a bare cache, or a person's checkout).
        timeout_s: hard limit of one network command.
    """

    def __init__(self, path: Path, *, timeout_s: float = 120.0) -> None:
        import git

        try:
            self._repo: Any = git.Repo(path, search_parent_directories=False)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise UsageError(
                "is no git repository", where=str(path), remedy="run this inside a git checkout"
            ) from error
        self._repo.git.update_environment(**_ENVIRONMENT)
        self.path = Path(self._repo.git_dir)
        self.timeout_s = timeout_s

    @classmethod
    def create_cache(cls, path: Path, *, timeout_s: float = 120.0) -> Git:
        """Open the bare cache at `path`, made if it is not there."""
        import git

        if not (path / "HEAD").is_file() or not (path / "kakeya-cache").is_file():
            path.mkdir(parents=True, exist_ok=True)
            repo = git.Repo.init(path, bare=True)
            with repo.config_writer() as config:
                for name, value in _CONFIG:
                    section, _, option = name.rpartition(".")
                    config.set_value(section, option, value)
                config.set_value(f'remote "{_REMOTE}"', "url", _NO_ADDRESS)
            repo.close()
            (path / "kakeya-cache").write_text("a disposable cache; safe to delete\n")
        return cls(path, timeout_s=timeout_s)

    @classmethod
    def create_bare(cls, path: Path, settings: Iterable[tuple[str, str]]) -> Git:
        """Open the bare repository at `path`, made if it is not there, and give it `settings`.

        Raises:
            UsageError: something else is there already.
        """
        import git

        if (path / ".git").exists() or (path.exists() and not path.is_dir()):
            raise UsageError(
                "is no bare repository", where=str(path), remedy="name a folder of its own"
            )
        if not (path / "HEAD").is_file() and path.is_dir() and any(path.iterdir()):
            raise UsageError(
                "holds other files", where=str(path), remedy="name a new or an empty folder"
            )
        repo = git.Repo.init(path, bare=True, mkdir=True)
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

    def close(self) -> None:
        """End the helper processes of this repository."""
        self._repo.close()

    # -- objects ---------------------------------------------------------------------------

    def store(self, objects: Iterable[GitObject]) -> None:
        """Write objects into the repository."""
        from gitdb import IStream

        for item in objects:
            stream = IStream(item.kind, len(item.data), io.BytesIO(item.data))
            stored = self._repo.odb.store(stream).binsha.hex()
            if stored != item.oid:
                raise IntegrityError(f"git stored {item.kind} {item.oid} as {stored}")

    def read(self, oid: str) -> tuple[str, bytes]:
        """The kind and the content of an object that is here.

        Raises:
            IntegrityError: it is not here or cannot be read.
        """
        if not is_oid(oid):
            raise IntegrityError(f"{oid!r} is no object id")
        try:
            _, kind, _, data = self._repo.git.get_object_data(oid)
        except (ValueError, OSError, EOFError) as error:
            self._repo.git.clear_cache()
            raise IntegrityError(f"object {oid} cannot be read", where=str(self.path)) from error
        return (kind if isinstance(kind, str) else kind.decode()), data

    def has(self, oid: str) -> bool:
        """Whether the object is here."""
        status, _, _ = self._call("cat-file", "-e", oid)
        return status == 0

    def resolve(self, revision: str) -> str | None:
        """The commit that `revision` names in this repository, or None."""
        if revision.startswith("-"):
            return None
        status, out, _ = self._call(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        return out.strip() if status == 0 and is_oid(out.strip()) else None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or an ancestor of it, as far as the history is here."""
        if old == new:
            return True
        status, _, _ = self._call("merge-base", "--is-ancestor", old, new)
        return status == 0

    def list_files(self, commit: str, folder: str = "") -> dict[str, tuple[str, str]]:
        """Every file of a commit's tree below `folder`: path to (mode, id)."""
        arguments = ["-r", "-z", "--full-tree", commit, *(["--", folder] if folder else [])]
        status, out, err = self._call("ls-tree", *arguments)
        if status:
            raise IntegrityError(f"the tree of {commit} cannot be read: {err.strip()}")
        entries = {}
        for row in filter(None, out.split("\0")):
            facts, _, name = row.partition("\t")
            mode, _, oid = facts.split(" ")
            entries[name] = (mode, oid)
        return entries

    def tree_of(self, commit: str) -> str:
        """The id of a commit's tree."""
        status, out, _ = self._call("rev-parse", "--verify", f"{commit}^{{tree}}")
        if status:
            raise IntegrityError(f"commit {commit} is not here", where=str(self.path))
        return str(out.strip())

    def changed_files(self) -> tuple[str, ...]:
        """Paths of a checkout that differ from HEAD, untracked ones included."""
        status, out, _ = self._call("status", "--porcelain=v1", "-z", "--untracked-files=all")
        rows = [row for row in out.split("\0") if row] if status == 0 else []
        return tuple(row[3:] for row in rows if len(row) > 3 and row[2] == " ")

    def hidden_files(self) -> tuple[str, ...]:
        """Paths whose changes git was told not to see (`assume-unchanged`, `skip-worktree`)."""
        _, out, _ = self._call("ls-files", "-v", "-z")
        rows = [row for row in out.split("\0") if row]
        return tuple(row[2:] for row in rows if row[0].islower() or row[0] == "S")

    def config(self, name: str) -> str | None:
        """One value of the repository's effective configuration, or None."""
        status, out, _ = self._call("config", "--get", name)
        return out.strip() if status == 0 else None

    # -- refs ------------------------------------------------------------------------------

    def list_refs(self, prefix: str) -> dict[str, RefTip]:
        """The refs of this repository below `prefix`, with their commits' subjects."""
        row_format = "%(refname)%00%(objectname)%00%(subject)"
        _, out, _ = self._call("for-each-ref", f"--format={row_format}", prefix)
        tips = {}
        for row in out.splitlines():
            name, oid, subject = row.split("\0", 2)
            tips[name] = RefTip(name, oid, subject)
        return tips

    def delete_ref(self, ref: str) -> None:
        """Forget a ref of this repository."""
        self._call("update-ref", "-d", ref)

    # -- the remote ------------------------------------------------------------------------

    def fetch(
        self,
        url: str,
        refspecs: Sequence[str],
        *,
        depth: int | None = None,
        object_filter: str | None = None,
        prune: bool = False,
    ) -> None:
        """Fetch `refspecs` from `url`.

        Raises:
            BusError: the remote did not answer, refused, or lacks an exact ref that was named.
        """
        arguments = ["--quiet", "--no-tags", "--force", "--no-write-fetch-head", "--no-auto-gc"]
        arguments += ["--no-recurse-submodules"]
        arguments += [f"--depth={depth}"] if depth else []
        arguments += [f"--filter={object_filter}"] if object_filter else []
        arguments += ["--prune"] if prune else []
        with self._address(url) as remote:
            status, _, err = self._call("fetch", *arguments, remote, *refspecs, network=True)
        # a shallow fetch whose patterns match nothing ends 1 and says nothing (git 2.39)
        nothing_matched = status == 1 and not err.strip() and depth is not None
        if status and not nothing_matched:
            raise BusError(_explain(err), where=url, remedy=_remedy(err))

    def push(
        self, url: str, updates: Sequence[tuple[str, str | None, str | None]], *, atomic: bool
    ) -> PushReply:
        """Push (ref, expected old id or None for absent, new id or None to delete) with leases."""
        arguments = ["--porcelain", "--no-verify", *(["--atomic"] if atomic else [])]
        for ref, old, _ in updates:
            arguments.append(f"--force-with-lease={ref}:{old or ''}")
        refspecs = [f"{new or ''}:{ref}" for ref, _, new in updates]
        with self._address(url) as remote:
            status, out, err = self._call("push", *arguments, remote, *refspecs, network=True)
        lines = []
        for row in out.splitlines():
            match = _PORCELAIN.match(row)
            if match:
                lines.append(PushLine(match[3], match[1], match[4]))
        return PushReply(status, tuple(lines), err)

    def list_remote(self, url: str, patterns: Sequence[str]) -> dict[str, str]:
        """`ls-remote`: ref to id. It lists every ref on the wire: for set-up and doctor only."""
        with self._address(url) as remote:
            status, out, err = self._call("ls-remote", "--quiet", remote, *patterns, network=True)
        if status:
            raise BusError(_explain(err), where=url, remedy=_remedy(err))
        rows = (row.split("\t", 1) for row in out.splitlines() if "\t" in row)
        return {ref: oid for oid, ref in rows}

    def export(self, commit: str, destination: Path) -> None:
        """Write the files of a commit, with no `.git`, below the new folder `destination`.

        Files come straight from their blobs: no checkout filter, attribute, hook or symlink of
        the tree takes effect. Symlinks and submodules are left out; LFS pointers stay pointers.
        """
        destination.mkdir(parents=True)
        for path, (mode, oid) in self.list_files(commit).items():
            parts = path.split("/")
            if mode not in ("100644", "100755") or not _plain_path(parts):
                continue
            target = destination.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(oid)[1])
            target.chmod(0o755 if mode == "100755" else 0o644)

    @contextmanager
    def _address(self, url: str) -> Iterator[str]:
        """What to call the remote: the address itself, or the cache's remote pointed at it."""
        check_url(url)
        if not (self.path / "kakeya-cache").is_file():
            yield url
            return
        count = int(os.environ.get("GIT_CONFIG_COUNT", "0") or 0)
        entry = {
            "GIT_CONFIG_COUNT": str(count + 1),
            f"GIT_CONFIG_KEY_{count}": f"url.{url}.insteadOf",
            f"GIT_CONFIG_VALUE_{count}": _NO_ADDRESS,
        }
        with self._repo.git.custom_environment(**entry):
            yield _REMOTE

    def _call(self, verb: str, *arguments: str, network: bool = False) -> tuple[int, str, str]:
        timeout = self.timeout_s if network else 60.0
        status, out, err = self._repo.git.execute(
            [self._repo.git.GIT_PYTHON_GIT_EXECUTABLE, verb, *arguments],
            with_extended_output=True,
            with_exceptions=False,
            strip_newline_in_stdout=False,
            kill_after_timeout=timeout,
        )
        return int(status), str(out), str(err)


def _plain_path(parts: Sequence[str]) -> bool:
    folded = [part.casefold().rstrip(". ") for part in parts]
    return all(part not in ("", ".", "..") for part in parts) and not any(
        part == ".git" or part.startswith("git~") for part in folded
    )


def _explain(stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    wanted = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))]
    return (wanted or lines or ["git gave no reason"])[0][:400]


def _remedy(stderr: str) -> str:
    text = stderr.lower()
    if "could not read username" in text or "authentication failed" in text or "denied" in text:
        return "check this machine's git credentials: git ls-remote must work without a prompt"
    if "does not appear to be a git repository" in text or "not found" in text:
        return "check the address, or make the bus: kakeya_remote bus init PATH"
    return "check the network and the address, then run the same command again"
