"""Artifacts on their way between jobs: what one left goes to the bus, what one names comes here."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bridge.bus.art import Owner
from bridge.bus.artifacts import ArtStore, Stored
from bridge.bus.commits import runner_identity
from bridge.bus.requester import RequesterBus
from bridge.bus.sources import fetch_artifact, find_artifact
from bridge.errors import BusError, IntegrityError, KakeyaError
from bridge.records import ArtifactRef, Request, Source
from bridge.runner.assets import Material
from bridge.runner.collect import open_plain
from bridge.runner.config import RunnerConfig

_TRIES = 6
_PAUSE_S = 1.0

Say = Callable[[str], None]


def make_store(config: RunnerConfig, say: Say = lambda _: None) -> ArtStore:
    """The store of a runner's bus; any thread may use it."""
    return ArtStore(
        config.bus,
        config.refs,
        config.cache_dir / "art",
        timeout_s=config.profile.network_timeout_s,
        limits=config.artifacts,
        say=say,
    )


# -- what a job left -----------------------------------------------------------------------


def publish_large(
    folder: Path, paths: Sequence[str], job_id: str, config: RunnerConfig, say: Say
) -> tuple[tuple[ArtifactRef, ...], tuple[str, ...]]:
    """Push the artifacts that no chain carries to refs of their own.

    Args:
        folder: where the job left them.
        paths: relative to it.
        job_id: the job.
        config: the runner's own settings.
        say: told what a person should know.

    Returns:
        What the result names, and what was left behind, "path: why" each.
    """
    store = make_store(config, say)
    put: list[ArtifactRef] = []
    left: list[str] = []
    for path in paths:
        try:
            with open_plain(folder / path) as file:
                stored = put_patiently(store, file, Owner("artifact", job_id, ""), config)
            put.append(ArtifactRef(path, stored.sha256, stored.bytes))
        except (KakeyaError, OSError) as error:
            reason = error.message if isinstance(error, KakeyaError) else error.strerror
            left.append(f"{ascii(path)[1:-1]}: {reason}")
    return tuple(put), tuple(left)


def put_patiently(
    store: ArtStore, file: IO[bytes], owner: Owner, config: RunnerConfig, *, tries: int = _TRIES
) -> Stored:
    """Put a file, again after an outage of the bus, for about a minute; raises as `put`."""
    author = runner_identity(config.name)
    for attempt in range(tries):
        try:
            return store.put(file, owner, author, int(time.time()))
        except BusError:
            if attempt + 1 == tries:
                raise
            time.sleep(_PAUSE_S * 2**attempt)
    raise AssertionError("the last try ends one way or the other")


# -- what a job names ----------------------------------------------------------------------


def provide_artifact(
    role: str, digest: str, request: Request, config: RunnerConfig, folder: Path, say: Say
) -> Material:
    """An artifact of another job, fetched by its digest into `folder`.

    It is looked for where the request says that it was left, and then at a ref of its own.

    Raises:
        KakeyaError: it cannot be had, is larger than this runner takes, or is not what it is
            called.
    """
    folder.mkdir(exist_ok=True)
    target = folder / role
    store = make_store(config, say)
    faults: list[str] = []
    for source in request.sources:
        if source.digest != digest:
            continue
        say(f"fetching {source.job}:{source.path} for the input {role}")
        try:
            _fetch_from_job(source, config, store, target)
        except KakeyaError as error:
            faults.append(f"{source.job}:{source.path}: {error.message}")
        else:
            return Material(target, f"artifact:{source.job}:{source.path}", digest)
    try:
        store.get(digest, target)
    except IntegrityError as error:
        problems = (*faults, *error.problems)
        raise type(error)(
            f"the input {role} cannot be had: {error.message}",
            where=error.where,
            remedy=error.remedy,
            problems=problems,
        ) from error
    return Material(target, f"artifact:{digest}", digest)


def _fetch_from_job(source: Source, config: RunnerConfig, store: ArtStore, target: Path) -> None:
    with _own_bus(config) as bus:
        ref = bus.find(source.job)
        if ref is None:
            raise IntegrityError("the bus holds no such job", where=source.job)
        chain = bus.load(ref)
        item = find_artifact(chain, source.path)
        if item.sha256 != source.digest:
            raise IntegrityError(f"is {item.sha256}", where=f"{source.job}:{source.path}")
        fetch_artifact(bus, store, chain, item, target)


@contextmanager
def _own_bus(config: RunnerConfig) -> Iterator[RequesterBus]:
    """A view of the bus for one thread: the runner's own is not to be shared."""
    cache = config.cache_dir / "art" / f"{secrets.token_hex(8)}.git"
    bus = RequesterBus(config.bus, cache, refs=config.refs, profile=config.profile)
    try:
        yield bus
    finally:
        bus.close()
        shutil.rmtree(cache, ignore_errors=True)
