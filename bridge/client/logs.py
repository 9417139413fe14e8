"""A job's output, chunk by chunk, as its runner committed it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.bus.chain import Chain
from bridge.bus.requester import RequesterBus
from bridge.client.outcomes import status_of
from bridge.client.waiting import Watcher
from bridge.clock import Backoff, Clock
from bridge.errors import UsageError

_CHUNK = re.compile(r"logs/([1-9][0-9]{0,2})-([0-9]{6})\.txt\Z")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output: raw bytes, which may end inside a character or a line."""

    attempt: int
    sequence: int
    data: bytes


def chunks_of(chain: Chain) -> list[tuple[int, int, str]]:
    """The (attempt, sequence, blob id) of every chunk of a chain, in order."""
    found = []
    for path, oid in chain.files.items():
        match = _CHUNK.match(path)
        if match:
            found.append((int(match[1]), int(match[2]), oid))
    return sorted(found)


def read_logs(
    bus: RequesterBus,
    ref: str,
    *,
    attempt: int | None,
    follow: bool,
    clock: Clock,
    watcher: Watcher,
) -> Iterator[Chunk]:
    """The chunks of a job's output, oldest first.

    Args:
        bus: where the job lies.
        ref: its ref.
        attempt: one attempt alone; None for all.
        follow: go on until the job has ended.
        clock: time.
        watcher: told where the job stands, progress included, while it is followed.

    Raises:
        UsageError: the job was folded, and the archive of its log is expired.
        BusError: the bus does not answer.
        IntegrityError: the job's commits cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    backoff = Backoff(bus.profile.poll_min_s, bus.profile.poll_max_s)
    while True:
        chain = bus.load_whole(ref)
        if chain.archive is not None and chain.claim_oid is not None:
            raise UsageError(
                "the log of this job has expired",
                where=chain.archive,
                remedy=f"its result stays: kakeya_remote results {chain.job.id}",
            )
        for number, sequence, oid in chunks_of(chain):
            if (number, sequence) not in seen and attempt in (None, number):
                seen.add((number, sequence))
                bus.fetch_files([oid])
                backoff.reset()
                yield Chunk(number, sequence, bus.read(oid))
        if follow:
            watcher.update(status_of(chain))
        if not follow or chain.ended:
            return
        while (tip := bus.peek(ref)) is not None and tip.oid == chain.tip:
            clock.pause(backoff.next_s())
