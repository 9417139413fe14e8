"""git itself, in a bare repository: what a stranger with push rights can leave there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge import proc
from tests.servers.child import server_env

_WHO = "Mallory <mallory@example.invalid>"


@dataclass(frozen=True)
class RawGit:
    """Plumbing commands in the repository at `path`."""

    path: Path

    def run(self, *arguments: str, data: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Standard output of a git command that must succeed."""
        argv = ["git", "-C", str(self.path), *arguments]
        environment = {**server_env(self.path), **(env or {})}
        done = proc.run(argv, cwd=self.path, env=environment, timeout_s=60, input=data)
        assert done.code == 0, f"{argv}: {done.stderr.decode()}"
        return done.stdout.decode("utf-8", "replace").strip()

    def store(self, kind: str, data: bytes) -> str:
        """Write an object as it is, well formed or not; returns its id."""
        arguments = ("hash-object", "-t", kind, "-w", "--literally", "--stdin")
        return self.run(*arguments, data=data)

    def tree(self, entries: Mapping[str, tuple[str, str]]) -> str:
        """A tree of name to (mode, id), written even where git would refuse it."""
        rows = [
            mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(oid)
            for name, (mode, oid) in entries.items()
        ]
        return self.store("tree", b"".join(rows))

    def commit(
        self,
        files: Mapping[str, bytes] | str,
        *,
        message: str,
        parents: Sequence[str] = (),
        who: str = _WHO,
    ) -> str:
        """A commit of plain files at top level, or of a tree that is there already."""
        if not isinstance(files, str):
            entries = {
                name: ("100644", self.store("blob", data)) for name, data in sorted(files.items())
            }
            files = self.tree(entries)
        lines = [f"tree {files}", *(f"parent {oid}" for oid in parents)]
        lines += [f"author {who} 1 +0000", f"committer {who} 1 +0000", "", message]
        return self.store("commit", "\n".join(lines).encode())

    def point(self, ref: str, oid: str) -> None:
        """Move a ref, whatever it was."""
        self.run("update-ref", ref, oid)

    def files(self, commit: str) -> dict[str, bytes]:
        """The plain files at the top of a commit."""
        names = self.run("ls-tree", "--name-only", commit).splitlines()
        return {name: self.run("cat-file", "blob", f"{commit}:{name}").encode() for name in names}

    def tip(self, ref: str) -> str:
        """Where a ref stands."""
        return self.run("rev-parse", "--verify", ref)
