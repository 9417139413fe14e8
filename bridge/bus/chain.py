"""A job's commit chain, read and judged: every commit must be a legal, bound next step.

A commit that is not changes nothing: what came before still stands, `fault` names what is wrong
with the tip, and the last valid holder can write over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge import records
from bridge.bus.refs import JobRef
from bridge.errors import BusError, IntegrityError, KakeyaError, ManifestError
from bridge.records import Claim, LogChunk, Progress, Request, Requeue, Result
from bridge.states import HELD_STATES, TERMINAL_EVENTS, TERMINAL_STATES, Event, State, next_state

MAX_COMMITS = 20_000
RECORD_FILES: dict[Event, str] = {
    Event.REQUEST: "request.json",
    Event.CLAIM: "claim.json",
    Event.LOG: "log.json",
    Event.REQUEUE: "requeue.json",
    **dict.fromkeys(TERMINAL_EVENTS, "result.json"),
}
_LATEST_FILES = frozenset(RECORD_FILES.values()) - {"request.json"}  # each holds the latest record
_SUBJECT = "kakeya: "


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as it was read: the files of its tree as path to blob id.

    `fault` says why the tree is none that a job may have; `files` is empty then.
    """

    oid: str
    parents: tuple[str, ...]
    message: str
    files: Mapping[str, str]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One valid step of a chain: what happened, and the commit that says so."""

    oid: str
    event: Event
    subject: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What is known of a job from its commits.

    Attributes:
        state: state after the last valid commit; None where not even the request stands.
        tip: oid of the ref's tip, valid or not; `head` is the last valid commit.
        files: path to blob id of the last valid commit's tree.
        attempt: the attempt that runs now, or the next one to be claimed.
        claim, claim_oid: the hold in force, None in other states.
        problems: why the request is malformed (then `request` is None).
        fault: why the commits after `head` do not count, None where the tip is valid.
        archive: the ref that keeps the commits of a job that was read from the ledger, else None.
    """

    ref: str
    job: JobRef
    tip: str
    head: str = ""
    state: State | None = None
    links: tuple[Link, ...] = ()
    files: Mapping[str, str] = ()  # type: ignore[assignment]
    request: Request | None = None
    request_oid: str = ""
    request_digest: str | None = None
    attempt: int = 1
    claim: Claim | None = None
    claim_oid: str | None = None
    log_sequence: int = 0
    progress: Progress | None = None
    result: Result | None = None
    problems: tuple[str, ...] = ()
    fault: str | None = None
    archive: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has its terminal record."""
        return self.state in TERMINAL_STATES

    @property
    def held(self) -> bool:
        """Whether a runner holds it now."""
        return self.state in HELD_STATES


def subject_event(subject: str) -> Event | None:
    """The event that a commit's subject names, None for a foreign commit."""
    if not subject.startswith(_SUBJECT):
        return None
    word = subject[len(_SUBJECT) :].split(",", 1)[0].split(" ", 1)[0]
    try:
        return Event(word)
    except ValueError:
        return None


def read_chain(
    ref: str,
    job: JobRef,
    commits: Sequence[Commit],
    read_blob: Callable[[str], bytes],
    *,
    bus_id: str | None,
) -> Chain:
    """Judge `commits`, oldest first, as the chain of one job.

    Args:
        ref: the job's ref on the remote.
        job: the same, taken apart.
        commits: at least one, each with its whole tree.
        read_blob: content of a blob that was fetched; raises IntegrityError for one that is not.
        bus_id: the bus's own id, so that a request of another bus is refused; None if unknown.

    Raises:
        BusError: from `read_blob`: nothing can be said of the chain now.
    """
    empty = Chain(ref, job, "", files={})
    return continue_chain(empty, commits, read_blob, bus_id=bus_id)


def continue_chain(
    chain: Chain,
    commits: Sequence[Commit],
    read_blob: Callable[[str], bytes],
    *,
    bus_id: str | None,
) -> Chain:
    """`chain` with the commits that came since its tip, oldest first; else as `read_chain`."""
    for commit in commits:
        try:
            grown = _extend(chain, commit, chain.tip or None, read_blob, bus_id)
            chain = replace(grown, tip=commit.oid, fault=None)
        except BusError:
            raise
        except KakeyaError as error:
            # the holder writes over a foreign commit, so later ones may count again
            chain = replace(chain, tip=commit.oid, fault=f"{commit.oid[:12]}: {error}")
    return chain


def _extend(
    chain: Chain,
    commit: Commit,
    parent: str | None,
    read_blob: Callable[[str], bytes],
    bus_id: str | None,
) -> Chain:
    subject = commit.message.split("\n", 1)[0]
    if parent is None:  # whatever its subject: a request pushed by hand may say what it likes
        return _start(chain, commit, subject, read_blob, bus_id)
    event = subject_event(subject)
    if event is None:
        raise IntegrityError(f"foreign commit, its subject is {subject[:80]!r}")
    if commit.parents != (parent,):
        raise IntegrityError("is not the child of the commit before it")
    state = next_state(chain.state, event)
    if commit.fault is not None:
        raise IntegrityError(commit.fault)
    _check_kept_files(chain, commit)
    name = RECORD_FILES[event]
    if name not in commit.files:
        raise IntegrityError(f"a {event.value} commit without {name}")
    kind = "result" if event in TERMINAL_EVENTS else event.value
    record = records.parse(kind, read_blob(commit.files[name]), where=name)
    changes = _bind(chain, event, record, commit.oid)
    link = Link(commit.oid, event, subject)
    return replace(
        chain,
        head=commit.oid,
        state=state,
        links=(*chain.links, link),
        files=commit.files,
        **changes,
    )


def _start(
    chain: Chain,
    commit: Commit,
    subject: str,
    read_blob: Callable[[str], bytes],
    bus_id: str | None,
) -> Chain:
    base = replace(
        chain,
        head=commit.oid,
        state=State.QUEUED,
        files=commit.files,
        request_oid=commit.oid,
        links=(Link(commit.oid, Event.REQUEST, subject),),
    )
    if commit.fault is not None:
        return replace(base, problems=(commit.fault,))
    try:
        if "request.json" not in commit.files:
            raise ManifestError("the commit holds no request.json")
        request = records.parse_request(read_blob(commit.files["request.json"]))
        problems = _misfits(request, chain.job, bus_id)
    except records.VersionSkewError:
        raise
    except IntegrityError as error:
        return replace(base, problems=(f"request.json: {error.message}",))
    except ManifestError as error:
        return replace(base, problems=error.problems or (str(error),))
    if problems:
        return replace(base, problems=problems)
    return replace(base, request=request, request_digest=records.digest_of(request))


def _misfits(request: Request, job: JobRef, bus_id: str | None) -> tuple[str, ...]:
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


def _check_kept_files(chain: Chain, commit: Commit) -> None:
    rewritten = sorted(
        path
        for path, oid in chain.files.items()
        if commit.files.get(path) != oid and path not in _LATEST_FILES
    )
    if rewritten:
        raise IntegrityError(f"rewrites or drops {', '.join(rewritten[:4])}")


def _bind(chain: Chain, event: Event, record: Any, oid: str) -> dict[str, Any]:
    if isinstance(record, Result):
        return _bind_result(chain, event, record)
    if record.request != chain.request_digest or chain.request_digest is None:
        raise IntegrityError(f"the {event.value} is bound to another request")
    if record.attempt != chain.attempt:
        raise IntegrityError(f"attempt {record.attempt}, expected {chain.attempt}")
    if isinstance(record, Claim):
        return {"claim": record, "claim_oid": oid, "log_sequence": 0, "progress": None}
    if record.claim != chain.claim_oid:
        raise IntegrityError(f"answers the claim {record.claim[:12]}, which is not in force")
    if isinstance(record, LogChunk):
        if record.sequence <= chain.log_sequence:
            raise IntegrityError(f"log {record.sequence} comes after log {chain.log_sequence}")
        return {"log_sequence": record.sequence, "progress": record.progress or chain.progress}
    assert isinstance(record, Requeue)
    return {"claim": None, "claim_oid": None, "attempt": chain.attempt + 1, "progress": None}


def _bind_result(chain: Chain, event: Event, result: Result) -> dict[str, Any]:
    if result.state != event.value:
        raise IntegrityError(f"the subject says {event.value}, the record {result.state}")
    if result.request_commit != chain.request_oid or result.request != chain.request_digest:
        raise IntegrityError(f"the {event.value} is bound to another request")
    if result.claim != chain.claim_oid:
        raise IntegrityError("answers a claim that is not in force")
    return {"result": result}
