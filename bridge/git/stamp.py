"""A cheap sign that the refs of a repository on this machine may have moved.

Git writes a ref by renaming a file into its folder, so the folder's time changes with every move.
The sign is a hint to ask git now rather than later: a move within one tick of the file system's
clock can be missed by it, and a repository with other storage of its refs shows none.
"""

from __future__ import annotations

import os
from pathlib import Path


class RefStamp:
    """The times of the folders in which refs lie.

    Args:
        path: the repository.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    @classmethod
    def of(cls, url: str) -> RefStamp | None:
        """For the repository at an address, None where that is not a folder of this machine."""
        path = Path(url.removeprefix("file://"))
        if not path.is_absolute():
            return None
        inner = path / ".git" if (path / ".git").is_dir() else path
        return cls(inner) if (inner / "refs").is_dir() else None

    def read(self, *prefixes: str) -> tuple[int, ...]:
        """What changes when a ref below one of `prefixes`, or so named, is made or moved.

        A prefix is a ref or a folder of refs; folders directly in it are looked into as well.
        """
        times = [self._time(f"{self._path}/packed-refs")]
        for prefix in prefixes:
            folder = f"{self._path}/{prefix}"
            times.append(self._time(folder))
            try:
                with os.scandir(folder) as rows:
                    times += [self._time(row.path) for row in rows if row.is_dir()]
            except OSError:
                continue  # a ref, or nothing yet
        return tuple(times)

    @staticmethod
    def _time(path: str) -> int:
        try:
            return os.stat(path).st_mtime_ns
        except OSError:
            return 0
