"""The disposable clones behind a bus: one process at a time works in them, and damage heals."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from bridge.errors import BusError, CacheError
from bridge.git import FastGit, FastPath, Git

T = TypeVar("T")

_MAX_PACK_FILES = 400
"""Files of packs, three or four to a pack, that a clone may have before it is made again."""
_MAX_PACK_BYTES = 2**30


class Cache:
    """Bare clones in `folder`, each opened when it is first used.

    They hold nothing that the remote, or a journal elsewhere, does not hold too: whatever is
    wrong with one, it is deleted and fetched again (86 ms for a usual one), never repaired.

    Args:
        folder: made if it is not there; may be deleted by anyone at any time.
        timeout_s: hard limit of one git command on the network.
        fast: how to reach the remote without git, None where only git can.
    """

    def __init__(self, folder: Path, *, timeout_s: float, fast: FastPath | None = None) -> None:
        self._fast = fast
        self.folder = folder
        self.timeout_s = timeout_s
        self._clones: dict[str, Git] = {}
        self._lock = FileLock(folder / "lock", timeout=4 * timeout_s)

    @property
    def tips(self) -> Git:
        """Commits alone, of every ref of the bus; in memory, there is one place for both."""
        return self.jobs if self._is_fast else self.clone("tips.git")

    @property
    def jobs(self) -> Git:
        """The chains of the jobs that were looked at, with their small files."""
        return self.clone("jobs.git")

    def clone(self, name: str) -> Git:
        """The clone of that name, opened or made."""
        git = self._clones.get(name)
        fast = self._fast if self._is_fast else None
        if git is None or isinstance(git, FastGit) != (fast is not None) or not git.is_current():
            if git is not None:
                git.close()
            git = self._open(self.folder / name, fast)
            self._clones[name] = git
        return git

    def _open(self, path: Path, fast: FastPath | None) -> Git:
        if fast is None:
            return Git.create_cache(path, timeout_s=self.timeout_s)
        return FastGit.create_fast(path, fast, timeout_s=self.timeout_s)

    @property
    def _is_fast(self) -> bool:
        return self._fast is not None and not self._fast.rests

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes out.

        Raises:
            BusError: another process has held the cache for longer than any command may take.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise BusError(
                f"another process has held the cache for {self._lock.timeout:g} s",
                where=str(self.folder),
                remedy="end the other kakeya_remote process, or name another cache folder",
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def work(self, action: Callable[[], T]) -> T:
        """The value of `action`; where a clone proves damaged, it is wiped and action run again.

        Raises:
            CacheError: the new clone is damaged as well, as on a full disk.
        """
        wiped: set[str] = set()
        with self.hold():
            self._tidy()
            while True:
                try:
                    return action()
                except CacheError as error:
                    if error.where in wiped:
                        raise
                    wiped.add(error.where)
                    self.wipe(Path(error.where))

    def _tidy(self) -> None:
        """Wipe the clones with too many packs, or too much in them: each fetch adds one."""
        for git in tuple(self._clones.values()):
            if isinstance(git, FastGit) and git.is_full:
                self._clones.pop(git.path.name).close()
                continue
            try:
                sizes = [item.stat().st_size for item in os.scandir(git.path / "objects" / "pack")]
            except OSError:
                continue  # it is gone, and will be made again
            if len(sizes) > _MAX_PACK_FILES or sum(sizes) > _MAX_PACK_BYTES:
                self.wipe(git.path)

    def wipe(self, clone: Path) -> None:
        """Delete one clone."""
        git = self._clones.pop(clone.name, None)
        if git is not None:
            git.close()
        shutil.rmtree(self.folder / clone.name, ignore_errors=True)

    def close(self) -> None:
        """End the git processes behind the clones."""
        for git in self._clones.values():
            git.close()
        self._clones.clear()
        if self._fast is not None:
            self._fast.close()
