"""What a workload writes through: samples, artifacts, progress, checkpoints, counted facts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bridge import canonical
from bridge.errors import UsageError
from workloads.shared.job import Job, digest_config, require_input
from workloads.shared.journal import Entry, Journal
from workloads.shared.progress import Progress
from workloads.shared.samples import Sample


class Context:
    """The one way out of a workload. Made by `Context.open`.

    Everything lies below `job.out`: `samples.jsonl`, `progress.jsonl`, `facts.json`,
    `artifacts/`. Files of a former attempt in the same folder are written anew; what that attempt
    finished comes back through `resume`.
    """

    def __init__(self, job: Job, progress: Progress, samples: IO[str]) -> None:
        self.job = job
        self.seed = job.seed
        self.attempt = job.attempt
        self._progress = progress
        self._samples = samples
        self._journal: Journal | None = None
        self._counters: Counter[str] = Counter()
        self._facts: dict[str, Any] = {}
        self._notes: dict[str, IO[str]] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, job: Job, *, progress: Progress) -> Iterator[Context]:
        """A context for the life of one attempt; `facts.json` is written however it ends."""
        try:
            (job.out / "artifacts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot be made: {error.strerror}", where=str(job.out)) from error
        wall_s, process_s = time.monotonic(), time.process_time()
        progress.open(job.out / "progress.jsonl")
        ended = False
        with (job.out / "samples.jsonl").open("w", encoding="utf-8") as samples:
            context = cls(job, progress, samples)
            try:
                yield context
                ended = True
            finally:
                context._close(
                    ended=ended,
                    wall_s=time.monotonic() - wall_s,
                    process_s=time.process_time() - process_s,
                )

    def start(self, workload: str, config: object) -> None:
        """Name the work; what a former attempt finished counts only under the same name."""
        digest = digest_config(config)
        self._facts |= {"workload": workload, "config_digest": digest}
        identity = canonical.digest([workload, digest])
        self._journal = Journal(self.checkpoint_dir, identity)

    @property
    def checkpoint_dir(self) -> Path:
        """A folder (it may not exist yet) for what a requeued attempt resumes from."""
        return self.job.checkpoint or self.job.out / "checkpoint"

    def input(self, role: str) -> Path:
        """The local path of an input (UsageError where there is none)."""
        return require_input(self.job.inputs, role)

    def sample(self, sample: Sample) -> None:
        """Write one row."""
        self._samples.write(sample.as_line())
        self._samples.flush()

    def commit(self, key: str, entry: Entry) -> None:
        """Write a finished unit's rows, notes and counters, and remember it for `resume`."""
        assert self._journal is not None, "Context.start comes first"
        self._journal.add(key, entry)
        self._write(entry)

    def resume(self, key: str) -> bool:
        """Whether a former attempt finished `key`; its rows are then written again."""
        assert self._journal is not None, "Context.start comes first"
        entry = self._journal.find(key)
        if entry is None:
            return False
        self._write(entry)
        self._progress.skip()
        self.count("units_resumed")
        return True

    def artifact(self, name: str) -> Path:
        """Where an artifact belongs: below `artifacts/`, its folder made.

        Raises:
            ValueError: `name` is absolute or climbs out.
        """
        relative = PurePosixPath(name)
        if relative.is_absolute() or not relative.parts or ".." in relative.parts:
            raise ValueError(f"artifact {name!r} does not lie below artifacts/")
        path = self.job.out / "artifacts" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def progress(self, step: int, total: int | None = None, note: str = "") -> None:
        """`step` of `total` steps are done."""
        self._progress.report(step, total, note)

    def count(self, name: str, by: float = 1) -> None:
        """Add to a counter of `facts.json`: what really happened, so that a gate can ask."""
        self._counters[name] += by  # type: ignore[assignment]

    def state(self, **facts: Any) -> None:
        """Add measured facts (JSON values) to `facts.json`."""
        self._facts |= facts

    def _write(self, entry: Entry) -> None:
        for row in entry.rows:
            self.sample(row)
        for name, by in entry.counters.items():
            self.count(name, by)
        for name, notes in entry.notes.items():
            self._append(name, notes)

    def _append(self, name: str, notes: tuple[Mapping[str, Any], ...]) -> None:
        if name not in self._notes:
            self._notes[name] = self.artifact(name).open("w", encoding="utf-8")
        for note in notes:
            self._notes[name].write(json.dumps(note, ensure_ascii=False) + "\n")
        self._notes[name].flush()

    def _close(self, *, ended: bool, wall_s: float, process_s: float) -> None:
        self._progress.close()
        for notes in self._notes.values():
            notes.close()
        if self._journal is not None:
            self._journal.close()
        document = {
            "schema": "kakeya.workload/1",
            **self._facts,
            "attempt": self.attempt,
            "ended": ended,
            "counters": dict(sorted(self._counters.items())),
            "wall_s": round(wall_s, 3),
            "process_s": round(process_s, 3),
        }
        temporary = self.job.out / "facts.json.part"
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")
        os.replace(temporary, self.job.out / "facts.json")
