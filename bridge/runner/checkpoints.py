"""What a job wrote for a later attempt: kept on the bus as it runs, and given to the next attempt.

The job writes into its checkpoint folder. Now and then, as its preset says, the folder goes to
`<root>/art/<sha256>` as one archive, and the next log record names it. The next attempt gets what
its own machine has, or else what the chain names: nothing else is believed.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge import wire
from bridge.bus.art import Owner
from bridge.bus.artifacts import ArtStore
from bridge.errors import ExecutorError, IntegrityError, KakeyaError, TooLargeError
from bridge.records import Checkpoint, Request
from bridge.runner.archive import Origin, fingerprint, pack, unpack
from bridge.runner.artifacts import make_store, put_patiently
from bridge.runner.config import RunnerConfig
from bridge.runner.outbox import write_synced
from bridge.runner.output import read_progress
from bridge.runner.workspace import checkpoint_folder, job_folder, read_json
from executors import make_executor
from executors.contract import OUT, handle_from_json
from presets.definition import CheckpointRule

_MIB = 2**20
_SLACK_BYTES = _MIB
_END_S = 60.0
_POLL_S = 0.1
_STALE_S = 7 * 86_400.0
_TRIES = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Resumed:
    """What an attempt began with.

    Attributes:
        by: `runner`: the folder was still on this machine; `bus`: it came from there.
        attempt: the attempt that wrote it.
        step: the job's own step then, as far as it was told.
        sha256: of the archive that came from the bus.
    """

    by: str
    attempt: int
    step: int
    sha256: str | None = None


class Keeper:
    """Takes the checkpoints of one running attempt to the bus; one at a time, on a thread.

    Args:
        request: the job's.
        attempt: number of the try.
        rule: how often, and how much; None keeps nothing on the bus.
        config: the runner's own settings.
        pool: threads.
        say: told what a person should know.
    """

    def __init__(
        self,
        request: Request,
        attempt: int,
        rule: CheckpointRule | None,
        config: RunnerConfig,
        pool: Pool,
        say: Say,
    ) -> None:
        self._request, self._attempt, self._rule = request, attempt, rule
        self._config, self._pool, self._say = config, pool, say
        self._folder = checkpoint_folder(config.state_dir, request.id)
        self._out = job_folder(config.state_dir, request.id, attempt) / OUT
        self._keeping: Future[None] | None = None
        self._one = threading.Lock()
        # a record has to name it before it is of use, and a host may count every push
        self._every_s = max(rule.every_s if rule else 0, config.profile.log_s)
        self._due_s = time.monotonic() + self._every_s
        self._kept: object = None
        self._latest: Checkpoint | None = None
        self._named: str | None = None
        self._old: list[str] = []

    def look(self) -> None:
        """Begin to take a checkpoint where one is due."""
        if self._rule is None or time.monotonic() < self._due_s:
            return
        if self._keeping is None or self._keeping.done():
            self._due_s = time.monotonic() + self._every_s
            self._keeping = self._pool.submit(self.keep)

    def take(self) -> Checkpoint | None:
        """The latest one that is on the bus, for the next log record."""
        return self._latest

    def name(self, checkpoint: Checkpoint | None) -> None:
        """A record names this one now: those before it may go."""
        self._named = checkpoint.sha256 if checkpoint else self._named

    def keep(self) -> None:
        """Take a checkpoint now, unless nothing has changed since the last; faults are told."""
        if self._rule is None:
            return
        with self._one:
            try:
                self._keep(self._rule)
            except (KakeyaError, OSError) as error:
                self._say(f"the checkpoint is not kept on the bus: {error}")

    def _keep(self, rule: CheckpointRule) -> None:
        before = fingerprint(self._folder)
        if before is None or before == self._kept:
            return
        progress = read_progress(self._out)
        step = progress.step if progress else 0  # read first: what is kept is no older than that
        origin = Origin(wire.digest_of(self._request), self._attempt, step)
        place = self._config.state_dir / "outgoing"
        place.mkdir(parents=True, exist_ok=True)
        archive = place / f"{self._request.id}-{self._attempt}.tar"
        store = make_store(self._config, self._say)
        try:
            pack(self._folder, origin, archive, max_bytes=rule.max_mb * _MIB)
            owner = Owner("checkpoint", self._request.id, f"attempt {self._attempt}, step {step}")
            with archive.open("rb") as file:
                stored = put_patiently(store, file, owner, self._config, tries=_TRIES)
        finally:
            archive.unlink(missing_ok=True)
        self._kept = before
        if self._latest is not None:
            self._old.append(self._latest.sha256)
        self._latest = Checkpoint(stored.sha256, stored.bytes, self._attempt, step)
        self._drop_old(store)

    def _drop_old(self, store: ArtStore) -> None:
        """Delete what no record names any more: all that is older than the latest one named."""
        if self._named not in self._old:
            return
        count = self._old.index(self._named)
        old, self._old = self._old[:count], self._old[count:]
        store.discard(self._request.id, old)

    def end(self) -> None:
        """The job has ended: nothing of it is resumed any more, here or elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)
        _note_path(self._config, self._request.id).unlink(missing_ok=True)
        if self._rule is not None:
            self._pool.submit(self._discard)

    def _discard(self) -> None:
        with self._one:
            try:
                make_store(self._config).discard(self._request.id)
            except KakeyaError as error:  # `bus fold` and every runner's housekeeping do it too
                self._say(f"checkpoints stay on the bus for now: {error}")


# -- giving them to the next attempt -------------------------------------------------------


def resume_checkpoint(
    request: Request,
    attempt: int,
    known: Checkpoint | None,
    rule: CheckpointRule | None,
    config: RunnerConfig,
    say: Say,
) -> Resumed | None:
    """Fill the checkpoint folder of an attempt; what it resumes from, None where it starts anew.

    Args:
        request: the job's.
        attempt: the one that is about to start.
        known: what the job's chain names.
        rule: of the preset; without one nothing comes from the bus.
        config: the runner's own settings.
        say: told what is refused, and why.

    Raises:
        ExecutorError: an earlier attempt still runs on this machine.
        BusError: the bus does not answer.
    """
    _end_earlier(request.id, attempt, config)
    _clear_stale(config)
    folder = checkpoint_folder(config.state_dir, request.id)
    here = _attempt_here(request, config)
    found: Resumed | None = None
    if known is not None and rule is not None and known.attempt > here:
        found = _restore(request, known, rule, config, folder, say)
    if found is None and here:
        progress = read_progress(job_folder(config.state_dir, request.id, here) / OUT)
        found = Resumed("runner", here, progress.step if progress else 0)
    elif found is None:
        shutil.rmtree(folder, ignore_errors=True)
    note = {"request": wire.digest_of(request), "attempt": attempt}
    folder.mkdir(parents=True, exist_ok=True)
    write_synced(_note_path(config, request.id), json.dumps(note).encode())
    if found is not None:
        say(f"resumes from step {found.step} of attempt {found.attempt}, kept by the {found.by}")
    return found


def resumed_as_json(resumed: Resumed | None) -> dict[str, object] | None:
    """What the record says of it."""
    if resumed is None:
        return None
    return {name: value for name, value in asdict(resumed).items() if value is not None}


def _attempt_here(request: Request, config: RunnerConfig) -> int:
    """The attempt of this very request that last used the folder on this machine; 0 for none."""
    note = read_json(_note_path(config, request.id))
    attempt = note.get("attempt")
    if note.get("request") != wire.digest_of(request) or not isinstance(attempt, int):
        return 0
    return attempt


def _restore(
    request: Request,
    known: Checkpoint,
    rule: CheckpointRule,
    config: RunnerConfig,
    folder: Path,
    say: Say,
) -> Resumed | None:
    """Fetch what the chain names; None, with the reason said, where that cannot be used."""
    place = config.state_dir / "incoming"
    place.mkdir(parents=True, exist_ok=True)
    archive, partial = place / f"{request.id}.tar", place / request.id
    archive.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    max_bytes = rule.max_mb * _MIB
    try:
        if known.bytes > max_bytes + _SLACK_BYTES:
            raise TooLargeError(f"it has {known.bytes} bytes", where=known.sha256)
        make_store(config, say).get(known.sha256, archive, max_bytes=max_bytes + _SLACK_BYTES)
        origin = Origin(wire.digest_of(request), known.attempt, known.step)
        unpack(archive, origin, partial, max_bytes=max_bytes)
    except IntegrityError as error:
        say(f"the checkpoint of attempt {known.attempt} is not used: {error}")
        return None
    finally:
        archive.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(folder)
    return Resumed("bus", known.attempt, known.step, known.sha256)


def _end_earlier(request_id: str, attempt: int, config: RunnerConfig) -> None:
    """End what an earlier attempt left running here: two would write into one folder."""
    for number in range(1, attempt):
        document = read_json(job_folder(config.state_dir, request_id, number) / "handle.json")
        name = str(document.get("executor", ""))
        if not document or name not in config.executors:
            continue
        handle = handle_from_json(document)
        executor = make_executor(name, config.executors[name])
        end_s = time.monotonic() + _END_S
        if executor.poll(handle).exit is None:
            executor.cancel(handle)
        while executor.poll(handle).exit is None:
            if time.monotonic() > end_s:
                raise ExecutorError(
                    f"attempt {number} still runs on this machine after it was ended",
                    where=str(handle.job_dir),
                    remedy="end its processes by hand, then restart the runner",
                )
            time.sleep(_POLL_S)


def _note_path(config: RunnerConfig, request_id: str) -> Path:
    return checkpoint_folder(config.state_dir, f"{request_id}.json")


def _clear_stale(config: RunnerConfig) -> None:
    """Delete what jobs left that went elsewhere, after a week."""
    for path in checkpoint_folder(config.state_dir, "").glob("*"):
        try:
            stale = time.time() - os.lstat(path).st_mtime > _STALE_S
        except OSError:
            continue
        if stale and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            path.with_name(f"{path.name}.json").unlink(missing_ok=True)
