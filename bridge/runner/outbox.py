"""Commits on their way to the bus, kept on disk until the bus has them or refused them.

Neither a lost reply nor a wiped cache loses a claim or a result: the exact objects are written
and synced here first, and the same commit is pushed again after a restart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import BusError, IntegrityError
from bridge.objects import Prepared, objects_from_bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """One swap that is under way: `ref` from `old` to the commit."""

    name: str
    ref: str
    old: str | None
    commit: Prepared


class Outbox:
    """A folder of letters; one process writes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, ref: str, old: str | None, commit: Prepared) -> None:
        """Keep a commit under `name`, synced to disk, before it is pushed.

        Raises:
            BusError: the disk does not take it; what is not kept may not be pushed.
        """
        facts = json.dumps({"ref": ref, "old": old, "files": dict(commit.files)}).encode()
        try:
            write_synced(self._folder / name, facts + b"\n" + commit.to_bytes())
        except OSError as error:
            raise BusError(
                f"{name} cannot be kept on this machine's disk, and waits: {error.strerror}",
                where=str(self._folder),
                remedy="free some space there; nothing is lost, and the runner goes on by itself",
            ) from error

    def drop(self, name: str) -> None:
        """Forget a letter whose outcome is known."""
        (self._folder / name).unlink(missing_ok=True)

    def letters(self) -> Iterator[Letter]:
        """What an earlier session left; a letter cut off by a crash was never pushed."""
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".partial":
                path.unlink()
                continue
            head, _, body = path.read_bytes().partition(b"\n")
            try:
                facts = json.loads(head)
                oid, objects = objects_from_bytes(body)
            except (ValueError, IntegrityError):
                path.unlink()
                continue
            commit = Prepared(oid, objects, facts["files"])
            yield Letter(path.name, facts["ref"], facts["old"], commit)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or absent, even after a power cut."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
