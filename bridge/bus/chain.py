"""A job's commit chain, read and judged: every commit must be a legal, bound next step.

A commit that is not changes nothing: what came before still stands, `fault` names what is wrong
with the tip, and the last valid holder can write over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge import wire
from bridge.bus.binding import (
    LATEST_FILES,
    MAX_FAULTS,
    RECORD_FILES,
    MovedError,
    bind,
    check_kept_files,
    misfits,
    name_fault,
    writer_of,
)
from bridge.bus.refs import JobRef
from bridge.bus.standing import (
    RUNNER_EVENTS,
    SIGNED_STEPS,
    Fault,
    Standing,
    vouch,
    vouch_newer,
    weaker,
)
from bridge.errors import BusError, IntegrityError, KakeyaError, ManifestError
from bridge.objects import Base, Sealed
from bridge.records import Checkpoint, Claim, Progress, Request, Result
from bridge.signers import Keyring
from bridge.states import HELD_STATES, TERMINAL_EVENTS, TERMINAL_STATES, Event, State, next_state
from bridge.wire import VersionSkewError

MAX_COMMITS = 20_000
_SUBJECT = "kakeya: "


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as it was read: the files of its tree as path to blob id.

    `fault` says why the tree is none that a job may have; `files` is empty then. `sealed` is its
    signature, where it has one. `base` is the commit of a branch that the first commit of a chain
    stands on, if any; none of its files counts.
    """

    oid: str
    parents: tuple[str, ...]
    message: str
    files: Mapping[str, str]
    fault: str | None = None
    sealed: Sealed | None = None
    base: Base | None = None


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
        checkpoint: the latest one that a holder of the claim named, in whatever attempt.
        problems: why the request is malformed (then `request` is None).
        fault: why the commits after `head` do not count, None where the tip is valid.
        fault_kind: of `fault`.
        faults: every commit so far that did not count, those written over too.
        standing: who vouches for the claim in force, or for the end of the job; None where no
            runner has written either.
        strict: whether its steps were to be signed from the start (`SIGNED_STEPS`).
        sealed: the signature of the step that ended the job.
        newer: what a newer program wrote here; nothing after it is judged, and no step may follow.
        base: the commit of a branch that the request stands on, None where it is an orphan.
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
    checkpoint: Checkpoint | None = None
    result: Result | None = None
    problems: tuple[str, ...] = ()
    fault: str | None = None
    fault_kind: Fault | None = None
    faults: tuple[str, ...] = ()
    standing: Standing | None = None
    strict: bool = False
    sealed: Sealed | None = None
    newer: str = ""
    base: Base | None = None
    archive: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has its terminal record."""
        return self.state in TERMINAL_STATES

    @property
    def held(self) -> bool:
        """Whether a runner holds it now, as far as this program can tell."""
        return self.state in HELD_STATES and not self.newer


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
    keyring: Keyring | None = None,
) -> Chain:
    """Judge `commits`, oldest first, as the chain of one job.

    Args:
        ref: the job's ref on the remote.
        job: the same, taken apart.
        commits: at least one, each with its whole tree.
        read_blob: content of a blob that was fetched; raises IntegrityError for one that is not.
        bus_id: the bus's own id, so that a request of another bus is refused; None if unknown.
        keyring: the enrolled keys; without one signatures are still held to what they sign.

    Raises:
        BusError: from `read_blob`: nothing can be said of the chain now.
    """
    empty = Chain(ref, job, "", files={})
    return continue_chain(empty, commits, read_blob, bus_id=bus_id, keyring=keyring)


def continue_chain(
    chain: Chain,
    commits: Sequence[Commit],
    read_blob: Callable[[str], bytes],
    *,
    bus_id: str | None,
    keyring: Keyring | None = None,
) -> Chain:
    """`chain` with the commits that came since its tip, oldest first; else as `read_chain`."""
    reading = _Reading(read_blob, bus_id, keyring or Keyring())
    for commit in commits:
        if chain.newer:
            chain = replace(chain, tip=commit.oid)
            continue
        try:
            grown = reading.extend(chain, commit)
            chain = replace(grown, tip=commit.oid, fault=None, fault_kind=None)
        except BusError:
            raise
        except KakeyaError as error:
            chain = reading.pass_over(chain, commit, error)
    return chain


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reader's look at a chain; see `read_chain`."""

    read_blob: Callable[[str], bytes]
    bus_id: str | None
    keyring: Keyring

    def extend(self, chain: Chain, commit: Commit) -> Chain:
        """The chain with one more commit that counts."""
        subject = commit.message.split("\n", 1)[0]
        if not chain.tip:  # whatever its subject: a request pushed by hand may say what it likes
            return self._start(chain, commit, subject)
        event = subject_event(subject)
        if event is None:
            raise IntegrityError(f"foreign commit, its subject is {subject[:80]!r}")
        if commit.parents != (chain.tip,):
            raise MovedError("is not the child of the commit before it")
        state = next_state(chain.state, event)
        if commit.fault is not None:
            raise IntegrityError(commit.fault)
        check_kept_files(chain, commit, LATEST_FILES)
        try:
            record = self._record(event, commit)
        except VersionSkewError as error:
            if commit.sealed is None:
                raise  # anybody may write that: what stands goes on
            vouch_newer(event, commit.sealed, self.keyring, chain.standing if chain.claim else None)
            return replace(chain, newer=error.message)
        changes = bind(chain, event, record, commit.oid)
        return replace(
            chain,
            head=commit.oid,
            state=state,
            links=(*chain.links, Link(commit.oid, event, subject)),
            files=commit.files,
            sealed=commit.sealed if event in TERMINAL_EVENTS else None,
            standing=self._vouch(chain, event, record, commit.sealed),
            **changes,
        )

    def pass_over(self, chain: Chain, commit: Commit, error: KakeyaError) -> Chain:
        """The chain as it was, with a word on the commit at its tip that does not count.

        The holder writes over it, so later ones may count again.
        """
        kind, why = name_fault(chain, commit, error, self._names_other_job(chain, commit))
        told = f"{commit.oid[:12]}: {why if kind is Fault.FOREIGN else f'{kind}: {why}'}"
        faults = (*chain.faults, told)[-MAX_FAULTS:]
        return replace(chain, tip=commit.oid, fault=told, fault_kind=kind, faults=faults)

    def _record(self, event: Event, commit: Commit) -> Any:
        name = RECORD_FILES[event]
        if name not in commit.files:
            raise IntegrityError(f"a {event.value} commit without {name}")
        kind = "result" if event in TERMINAL_EVENTS else event.value
        return wire.parse(kind, self.read_blob(commit.files[name]), where=name)

    def _names_other_job(self, chain: Chain, commit: Commit) -> bool:
        """Whether a commit that does not count holds the record of another job."""
        event = subject_event(commit.message.split("\n", 1)[0])
        try:
            record = self._record(event, commit) if event in RECORD_FILES else None
        except KakeyaError:
            return False
        named = getattr(record, "request", None)
        return named is not None and named != chain.request_digest

    def _vouch(
        self, chain: Chain, event: Event, record: Any, sealed: Sealed | None
    ) -> Standing | None:
        answers = chain.standing if event in RUNNER_EVENTS and chain.claim else None
        writer = writer_of(chain, event, record)
        found = vouch(event, writer, sealed, self.keyring, claim=answers, strict=chain.strict)
        return weaker(answers, found) if event in RUNNER_EVENTS else None

    def _start(self, chain: Chain, commit: Commit, subject: str) -> Chain:
        base = replace(
            chain,
            head=commit.oid,
            state=State.QUEUED,
            files=commit.files,
            base=commit.base,
            request_oid=commit.oid,
            links=(Link(commit.oid, Event.REQUEST, subject),),
            strict=SIGNED_STEPS in commit.message.split("\n"),
        )
        if commit.fault is not None:
            return replace(base, problems=(commit.fault,))
        try:
            if "request.json" not in commit.files:
                raise ManifestError("the commit holds no request.json")
            request = wire.parse_request(self.read_blob(commit.files["request.json"]))
            problems = misfits(request, chain.job, self.bus_id)
        except VersionSkewError as error:
            return replace(base, newer=error.message)
        except IntegrityError as error:
            return replace(base, problems=(f"request.json: {error.message}",))
        except ManifestError as error:
            return replace(base, problems=error.problems or (str(error),))
        if problems:
            return replace(base, problems=problems)
        return replace(base, request=request, request_digest=wire.digest_of(request))
