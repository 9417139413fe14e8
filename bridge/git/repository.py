"""One git repository on this machine: its objects, refs and files."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.canonical import is_oid, printable
from bridge.errors import CacheError, IntegrityError, KakeyaError, UsageError
from bridge.git.answers import explain
from bridge.git.settings import load_library, make_environment
from bridge.objects import GitObject, is_plain_path

_LOCAL_TIMEOUT_S = 60.0
MAX_SUBJECT = 300
_BOUNDED = 'ulimit -f "$1"; shift; exec "$@"'  # a constant: everything else is an argument
_BLOCK_BYTES = 512  # what a POSIX shell counts in


@dataclass(frozen=True, slots=True)
class RefTip:
    """A ref with the object it points at and that commit's subject, printable."""

    ref: str
    oid: str
    subject: str


class Repository:
    """The verbs that need no network; not for use by two threads at once.

    Args:
        path: the repository (a bare cache, or a person's checkout).
        timeout_s: hard limit of one network command.
        disposable: it is a cache that may be deleted: faults in it are `CacheError`.
    """

    def __init__(self, path: Path, *, timeout_s: float = 120.0, disposable: bool = False) -> None:
        git = load_library()
        try:
            self._repo: Any = git.Repo(path, search_parent_directories=False)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise UsageError(
                "is no git repository", where=str(path), remedy="run this inside a git checkout"
            ) from error
        self.path = Path(self._repo.git_dir).absolute()
        self.timeout_s = timeout_s
        self.disposable = disposable
        environment = make_environment()
        if disposable:
            # named outright: where the folder is gone, git would go and work in the caller's own
            # repository. Never for a checkout: it would switch off git's check of who owns it.
            environment |= {
                "GIT_DIR": str(self.path),
                "GIT_OBJECT_DIRECTORY": str(self.path / "objects"),
                "GIT_NAMESPACE": "",
            }
        self._repo.git.update_environment(**environment)

    def close(self) -> None:
        """End the helper processes of this repository."""
        self._repo.close()

    # -- objects ---------------------------------------------------------------------------

    def store(self, objects: Iterable[GitObject]) -> None:
        """Write objects into the repository, as git does it, and without a process for each.

        Raises:
            CacheError, IntegrityError: the disk is full, or the folder is gone.
        """
        folder = Path(self._repo.common_dir) / "objects"
        for item in objects:
            try:
                _write_loose(folder, item)
            except OSError as error:
                raise self._fault(f"object {item.oid} cannot be written: {error}") from error

    def read(self, oid: str) -> tuple[str, bytes]:
        """The kind and the content of an object that is here.

        Raises:
            IntegrityError: it is not here.
            CacheError: it is here and damaged, in a cache (IntegrityError elsewhere).
        """
        if not is_oid(oid):
            raise IntegrityError(f"{printable(repr(oid), 80)} is no object id")
        try:
            _, kind, size, data = self._repo.git.get_object_data(oid)
        except (ValueError, OSError, EOFError) as error:
            self._repo.git.clear_cache()
            if "missing" in str(error):
                raise IntegrityError(f"object {oid} is not here", where=str(self.path)) from error
            raise self._fault(f"object {oid} cannot be read") from error
        kind = kind if isinstance(kind, str) else kind.decode()
        if len(data) != size or GitObject(kind, data).oid != oid:
            self._repo.git.clear_cache()
            raise self._fault(f"object {oid} is damaged")
        return kind, data

    def has(self, oid: str) -> bool:
        """Whether the object is here."""
        try:
            self._repo.git.get_object_header(oid)
        except (ValueError, OSError, EOFError) as error:
            if "missing" not in str(error):  # else the helper is well, and is asked again
                self._repo.git.clear_cache()
            return False
        return True

    def resolve(self, revision: str) -> str | None:
        """The commit that `revision` names in this repository, or None."""
        return self._parse_revision(f"{revision}^{{commit}}")

    def tip_of(self, ref: str) -> str | None:
        """The id of whatever object a ref points at, or None where there is no such ref."""
        return self._parse_revision(ref)

    def _parse_revision(self, revision: str) -> str | None:
        if revision.startswith("-"):
            return None
        arguments = ("--verify", "--quiet", "--end-of-options", revision)
        status, out, _ = self._call("rev-parse", *arguments)
        return out.strip() if status == 0 and is_oid(out.strip()) else None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or an ancestor of it, as far as the history is here."""
        if old == new:
            return True
        status, _, _ = self._call("merge-base", "--is-ancestor", old, new)
        return status == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """The newest commit that both commits have behind them, as far as the history is here."""
        status, out, _ = self._call("merge-base", "--end-of-options", one, other)
        return out.strip() if status == 0 and is_oid(out.strip()) else None

    def read_blob(self, oid: str, max_bytes: int, wanted: str = "blob") -> bytes:
        """The content of a file (or tree, commit), refused by its size before it is read.

        Raises:
            IntegrityError: not of that kind, larger than `max_bytes`, or not here.
        """
        try:
            _, kind, size = self._repo.git.get_object_header(oid)
        except (ValueError, OSError, EOFError) as error:
            self._repo.git.clear_cache()
            raise IntegrityError(f"object {oid} is not here", where=str(self.path)) from error
        kind = kind if isinstance(kind, str) else kind.decode()
        if kind != wanted or size > max_bytes:
            raise IntegrityError(f"object {oid} is a {kind} of {size} bytes", where=str(self.path))
        return self.read(oid)[1]

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

    def export(self, commit: str, destination: Path) -> None:
        """Write the files of a commit, with no `.git`, below the new folder `destination`.

        Files come straight from their blobs: no checkout filter, attribute, hook or symlink of
        the tree takes effect. Symlinks and submodules are left out; LFS pointers stay pointers.
        """
        destination.mkdir(parents=True)
        for path, (mode, oid) in self.list_files(commit).items():
            if mode not in ("100644", "100755") or not is_plain_path(path):
                continue
            target = destination.joinpath(*path.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(oid)[1])
            target.chmod(0o755 if mode == "100755" else 0o644)

    # -- a person's checkout ---------------------------------------------------------------

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

    def run_verb(
        self, verb: str, *arguments: str, timeout_s: float = _LOCAL_TIMEOUT_S
    ) -> tuple[int, str, str]:
        """Exit code and both streams of a command in a checkout, for `bridge.git` alone."""
        return self._call(verb, *arguments, timeout_s=timeout_s)

    def config(self, name: str) -> str | None:
        """One value of the repository's effective configuration, or None."""
        status, out, _ = self._call("config", "--get", name)
        return out.strip() if status == 0 else None

    # -- refs ------------------------------------------------------------------------------

    def list_refs(self, prefix: str) -> dict[str, RefTip]:
        """The refs of this repository below `prefix`, with their commits' subjects.

        Raises:
            CacheError, IntegrityError: an object that a ref names cannot be read.
        """
        row_format = "%(refname)%00%(objectname)%00%(subject)"
        status, out, err = self._call("for-each-ref", f"--format={row_format}", prefix)
        if status:
            raise self._fault(f"the refs cannot be listed: {explain(err)}")
        tips = {}
        for row in filter(None, out.split("\n")):  # a subject may hold any other line separator
            name, oid, subject = row.split("\0", 2)
            tips[name] = RefTip(name, oid, printable(subject, MAX_SUBJECT))
        return tips

    def create_ref(self, ref: str, oid: str) -> None:
        """Let a new ref of this repository point at a commit.

        Raises:
            UsageError: there is such a ref, or its name cannot be one.
        """
        status, _, err = self._call("update-ref", ref, oid, "0" * 40)
        if status:
            raise UsageError(f"cannot be created: {explain(err)}", where=ref)

    def delete_ref(self, ref: str) -> None:
        """Forget a ref of this repository."""
        self._call("update-ref", "-d", ref)

    # --------------------------------------------------------------------------------------

    def is_sound(self) -> bool:
        """Whether git can read all that is said to be here, and nobody left a lock behind."""
        locks = [*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")]
        if locks or not self.path.is_dir():
            return False
        status, _, _ = self._call("fsck", "--no-dangling", "--no-progress", "--no-reflogs")
        return status == 0

    def _fault(self, message: str) -> KakeyaError:
        if not self.disposable:
            return IntegrityError(message, where=str(self.path))
        return CacheError(
            message, where=str(self.path), remedy="delete the folder: it is fetched again"
        )

    def _call(
        self,
        verb: str,
        *arguments: str,
        timeout_s: float = _LOCAL_TIMEOUT_S,
        max_file_bytes: int | None = None,
    ) -> tuple[int, str, str]:
        """Run git; `max_file_bytes` is the largest file that it may write, held by the kernel."""
        command = [self._repo.git.GIT_PYTHON_GIT_EXECUTABLE, verb, *arguments]
        if max_file_bytes is not None:
            blocks = max(1, max_file_bytes // _BLOCK_BYTES)
            command = ["/bin/sh", "-c", _BOUNDED, "sh", str(blocks), *command]
        status, out, err = self._repo.git.execute(
            command,
            with_extended_output=True,
            with_exceptions=False,
            strip_newline_in_stdout=False,
            kill_after_timeout=timeout_s,
        )
        if status < 0 and str(err).startswith("Timeout: the command"):
            err = f"fatal: no answer within {timeout_s:g} s"
        return int(status), str(out), str(err)


def _write_loose(folder: Path, item: GitObject) -> None:
    oid = item.oid
    target = folder / oid[:2] / oid[2:]
    if target.exists():
        return
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_name(f"tmp_obj_{secrets.token_hex(8)}")  # a name that git cleans up
    try:
        temporary.write_bytes(zlib.compress(item.header + item.data, level=1))
        temporary.chmod(0o444)
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
