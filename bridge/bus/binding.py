"""What ties a step to the job that it stands in: request, claim, attempt, order, files. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.bus.refs import JobRef
from bridge.bus.standing import Fault, ForgedError, stood_on
from bridge.errors import IntegrityError, KakeyaError
from bridge.records import Claim, LogChunk, Request, Requeue, Result
from bridge.states import TERMINAL_EVENTS, Event
from bridge.wire import VersionSkewError

if TYPE_CHECKING:
    from bridge.bus.chain import Chain, Commit


RECORD_FILES: dict[Event, str] = {
    Event.REQUEST: "request.json",
    Event.CLAIM: "claim.json",
    Event.LOG: "log.json",
    Event.REQUEUE: "requeue.json",
    **dict.fromkeys(TERMINAL_EVENTS, "result.json"),
}
LATEST_FILES = frozenset(RECORD_FILES.values()) - {"request.json"}  # each holds the latest record
MAX_FAULTS = 20
"""How many commits that do not count a chain remembers, and looks into."""


class ReplayedError(IntegrityError):
    """A record was written for another request, claim or place in the chain."""


class MovedError(IntegrityError):
    """A commit does not stand where it was made to stand."""


def misfits(request: Request, job: JobRef, bus_id: str | None) -> tuple[str, ...]:
    """Where a request was written for another bus, job, label or priority; "$.path: why" each."""
    wanted: list[tuple[str, Any, Any]] = [
        ("id", request.id, job.id),
        ("label", request.label, job.label),
        ("priority", request.priority, job.priority),
    ]
    if bus_id is not None:
        wanted.append(("bus", request.bus, bus_id))
    return tuple(
        f"$.{name}: the request says {said!r}, its ref or bus says {is_!r}"
        for name, said, is_ in wanted
        if said != is_
    )


def check_kept_files(chain: Chain, commit: Commit, replaced: frozenset[str]) -> None:
    """Refuse a step that rewrites or drops a file of the step before, but those of `replaced`."""
    rewritten = sorted(
        path
        for path, oid in chain.files.items()
        if commit.files.get(path) != oid and path not in replaced
    )
    if rewritten:
        raise IntegrityError(f"rewrites or drops {', '.join(rewritten[:4])}")


def bind(chain: Chain, event: Event, record: Any, oid: str) -> dict[str, Any]:
    """What a step changes in its chain.

    Raises:
        ReplayedError: it was not written for this place.
        IntegrityError: its subject and its record differ.
    """
    if isinstance(record, Result):
        return _bind_result(chain, event, record)
    if record.request != chain.request_digest or chain.request_digest is None:
        raise ReplayedError(f"the {event.value} is bound to another request")
    if record.attempt != chain.attempt:
        raise ReplayedError(f"attempt {record.attempt}, expected {chain.attempt}")
    if isinstance(record, Claim):
        return {"claim": record, "claim_oid": oid, "log_sequence": 0, "progress": None}
    if record.claim != chain.claim_oid:
        raise ReplayedError(f"answers the claim {record.claim[:12]}, which is not in force")
    if isinstance(record, LogChunk):
        return _bind_log(chain, record)
    assert isinstance(record, Requeue)
    return {"claim": None, "claim_oid": None, "attempt": chain.attempt + 1, "progress": None}


def _bind_log(chain: Chain, log: LogChunk) -> dict[str, Any]:
    if log.sequence <= chain.log_sequence:
        raise ReplayedError(f"log {log.sequence} comes after log {chain.log_sequence}")
    if log.checkpoint is not None and log.checkpoint.attempt != chain.attempt:
        raise ReplayedError(f"names a checkpoint of attempt {log.checkpoint.attempt}")
    return {
        "log_sequence": log.sequence,
        "progress": log.progress or chain.progress,
        "checkpoint": log.checkpoint or chain.checkpoint,
    }


def _bind_result(chain: Chain, event: Event, result: Result) -> dict[str, Any]:
    if result.state != event.value:
        raise IntegrityError(f"the subject says {event.value}, the record {result.state}")
    if result.request_commit != chain.request_oid or result.request != chain.request_digest:
        raise ReplayedError(f"the {event.value} is bound to another request")
    if result.claim != chain.claim_oid:
        raise ReplayedError("answers a claim that is not in force")
    return {"result": result}


def require_readable(chain: Chain) -> None:
    """Refuse to act on a job of which a newer program wrote more than this one can read.

    Raises:
        VersionSkewError: it did.
    """
    if chain.newer:
        raise VersionSkewError(
            f"the job cannot be told: {chain.newer}",
            where=chain.job.id,
            remedy="upgrade kakeya_remote on this machine: git pull, then make demo",
        )


def writer_of(chain: Chain, event: Event, record: Any) -> str:
    """The runner, or whoever else, that a step says wrote it."""
    if isinstance(record, Claim):
        return record.runner
    if event in (Event.LOG, Event.DONE, Event.FAILED) and chain.claim is not None:
        return chain.claim.runner
    return str(getattr(record, "by", ""))


def name_fault(
    chain: Chain, commit: Commit, error: KakeyaError, names_other_job: bool
) -> tuple[Fault, str]:
    """What kind of fault a commit is that does not count, and why it does not.

    Args:
        chain: what stands below it.
        commit: the commit.
        error: what the reading of it met first.
        names_other_job: whether its record is bound to another request.
    """
    if isinstance(error, ReplayedError):
        return Fault.REPLAYED, str(error)
    if isinstance(error, MovedError):
        return Fault.MOVED, str(error)
    if commit.sealed is not None and names_other_job:
        return Fault.REPLAYED, f"it was written for another job; {error}"
    # each look costs up to 200 checks of a signature: a flood of such commits is not looked into
    if commit.sealed is not None and len(chain.faults) < MAX_FAULTS:
        place = stood_on(commit.sealed, (link.oid for link in chain.links))
        if place is not None and place not in commit.parents:
            return Fault.MOVED, f"it was signed to stand on {place[:12]}"
    return (Fault.FORGED if isinstance(error, ForgedError) else Fault.FOREIGN), str(error)
