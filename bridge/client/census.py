"""Every job of a bus, live and folded, each with its evidence, the newest first."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge import canonical
from bridge.bus.chain import Chain
from bridge.bus.requester import RequesterBus
from bridge.canonical import ulid_time_ms
from bridge.client.results import EVIDENCE, MAX_EVIDENCE_BYTES
from bridge.errors import KakeyaError

_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Counted:
    """One job.

    Attributes:
        chain: its commits, judged.
        record: its evidence as JSON data, of any shape; None where it has none.
        fault: why its evidence is not what the result says, "" where it is.
    """

    chain: Chain
    record: Mapping[str, Any] | None
    fault: str = ""


def walk_jobs(
    bus: RequesterBus, *, since_ms: int = 0, without: Container[str] = ()
) -> Iterator[Counted]:
    """Every job whose id is not older than `since_ms`; those that cannot be read are left out.

    Args:
        bus: the bus.
        since_ms: Unix time in milliseconds.
        without: ids of ended jobs that are not fetched.

    Raises:
        BusError: the bus does not answer.
    """
    seen: set[str] = set()
    jobs = bus.poll().jobs
    refs = sorted(jobs, key=lambda ref: jobs[ref][0].id, reverse=True)
    refs = [ref for ref in refs if ulid_time_ms(jobs[ref][0].id) >= since_ms]
    for start in range(0, len(refs), _CHUNK):
        chains = bus.load_all(refs[start : start + _CHUNK])
        for chain in sorted(chains, key=lambda one: one.job.id, reverse=True):
            seen.add(chain.job.id)
            yield count(bus, chain)
    # the ledger is read after the refs: a job that is folded in between is met there
    for chain in bus.roll.newest(bus_id=bus.identity().id, without=without, every=not since_ms):
        if ulid_time_ms(chain.job.id) < since_ms:
            return
        if chain.job.id not in seen:
            yield count(bus, chain)


def count(bus: RequesterBus, chain: Chain) -> Counted:
    """A job with its evidence, checked against the digest in its result."""
    oid = chain.files.get(EVIDENCE)
    if oid is None or chain.result is None:
        return Counted(chain, None)
    try:
        bus.fetch_files([oid])
        data = bus.read(oid)
        if canonical.digest_bytes(data) != chain.result.evidence:
            return Counted(chain, None, "the evidence is not what the result says")
        value = canonical.decode(data, where=EVIDENCE, max_bytes=MAX_EVIDENCE_BYTES)
    except KakeyaError as error:
        return Counted(chain, None, f"the evidence cannot be read: {error.message}")
    return Counted(chain, value if isinstance(value, dict) else None)
