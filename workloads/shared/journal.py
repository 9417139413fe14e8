"""Finished units of work on disk, so that a requeued attempt resumes where the last one died."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from workloads.shared.samples import Sample


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished unit of work: its rows, what it counted, lines for artifacts by file name."""

    rows: tuple[Sample, ...]
    counters: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)


class Journal:
    """`finished.jsonl` in a checkpoint folder: one fsynced line for each finished unit.

    A line counts only if it was written under the same `identity` (workload and config);
    the last line may be torn, and is then done again.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._identity = identity
        self._entries: dict[str, Entry] = {}
        self._path = folder / "finished.jsonl"
        self._sound = self._read(self._path)
        self._file: IO[bytes] | None = None

    def find(self, key: str) -> Entry | None:
        """What an earlier attempt finished under `key`, or None."""
        return self._entries.get(key)

    def add(self, key: str, entry: Entry) -> None:
        """Write a finished unit through to the disk."""
        line = {
            "identity": self._identity,
            "key": key,
            "rows": [row.as_json() for row in entry.rows],
            "counters": dict(entry.counters),
            "notes": {name: list(notes) for name, notes in entry.notes.items()},
        }
        if self._file is None:
            self._file = self._open()
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._entries[key] = entry

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("r+b" if self._path.exists() else "w+b")
        file.truncate(self._sound)
        file.seek(self._sound)
        return file

    def _read(self, path: Path) -> int:
        if not path.exists():
            return 0
        sound = 0
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                document = json.loads(line)
            except ValueError:
                break
            sound += len(line)
            if document["identity"] == self._identity:
                self._entries[document["key"]] = Entry(
                    rows=tuple(Sample.from_json(row) for row in document["rows"]),
                    counters=document["counters"],
                    notes={name: tuple(notes) for name, notes in document["notes"].items()},
                )
        return sound
