"""Every record that crosses the bus, a frozen dataclass each; `bridge.wire` reads and writes them.

Shapes: `bridge/schemas/*.schema.json`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.plans import Campaign, Membership, Move
from bridge.plans import PresetRef as PresetRef
from bridge.plans import Resources as Resources


@dataclass(frozen=True, slots=True)
class BusIdentity:
    """What makes one bus this bus: written once, in the first commit of the ledger."""

    id: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the requester expects, written down before the run; never a gate.

    `gate` is a rule of the gate language (docs/gates.md) or None for a prediction that a person
    resolves; `credence` is a decimal string in [0, 1].
    """

    id: str
    text: str
    credence: str
    rule: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """An evidence record that gates compare with, by the alias that they use and its digest."""

    alias: str
    digest: str


@dataclass(frozen=True, slots=True)
class Source:
    """Which job left an artifact that a param names by `digest`, and under which path."""

    digest: str
    job: str
    path: str


@dataclass(frozen=True, slots=True)
class Request:
    """One frozen manifest: what to run, on which code, for whom.

    Attributes:
        id: ULID of the job, also in its ref.
        bus: id of the bus it was written for, so that it cannot be replayed on another.
        params: the preset's params by name, complete (defaults filled in).
        code: full oid of the commit whose code runs.
        label: the one routing label in the ref; `labels` are all that the runner must have.
        priority: 0 (first) to 9 (last).
        queue_timeout_s: how long the requester lets it wait unclaimed, None for ever.
        max_attempts: claims that may die before it counts as lost.
        executor: an executor the requester insists on, or None.
        predictions: what is expected, registered before the run.
        baselines: records that the gates compare with, fixed before the run.
        sources: where the artifacts lie that the params name by digest.
        retry_of: the ended job that this one tries again.
        amends: digest of the request that this one replaces, where a plan was changed.
        campaign: the cell of a campaign that this is.
        reuse: True where finished evidence of the same work may answer it.
        replay_of: the ended job whose evidence this one is to reproduce.
        runner: the one runner that may take it, or None.
        avoid: a runner that must leave it to others, or None.
    """

    id: str
    bus: str
    preset: PresetRef
    params: Mapping[str, Any]
    code: str
    label: str
    labels: tuple[str, ...]
    resources: Resources
    priority: int
    nonce: str
    requested_by: str
    requested_at: str
    queue_timeout_s: int | None = None
    max_attempts: int = 3
    executor: str | None = None
    predictions: tuple[Prediction, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    sources: tuple[Source, ...] = ()
    retry_of: str | None = None
    amends: str | None = None
    campaign: Membership | None = None
    reuse: bool | None = None
    replay_of: str | None = None
    runner: str | None = None
    avoid: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """An exclusive hold of a request by one session of one runner.

    `trusted` is the commit that everything from launch to verdict comes from.
    """

    request: str
    attempt: int
    runner: str
    session: str
    trusted: str
    preset: str
    executor: str
    isolation: str
    lease_s: float
    heartbeat_s: float
    nonce: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job says it is: `eta_s` in seconds, None where unknown."""

    step: int
    total: int | None = None
    eta_s: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an attempt had written by `step` for a later one, kept at `<root>/art/<sha256>`."""

    sha256: str
    bytes: int
    attempt: int
    step: int


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of a job's output, in `logs/<attempt>-<sequence>.txt` beside the record."""

    request: str
    claim: str
    attempt: int
    sequence: int
    bytes: int
    nonce: str
    progress: Progress | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Requeue:
    """A claim given back: `attempt` is the one that ended, `claim` the commit now fenced off."""

    request: str
    claim: str
    attempt: int
    reason: str
    by: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Exit:
    """How the job's process ended: exit code or signal, and the reason in one word.

    `reason`: exit, signal, timeout, memory, output, disk, cancelled, vanished, launch.
    """

    code: int | None
    signal: int | None
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A file that a job left, by digest; `path` is relative to the commit's `artifacts/`."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """The one terminal record of a job.

    Attributes:
        state: done, failed, rejected, cancelled, expired or lost.
        request: digest of the request; None only for a rejection whose request does not parse,
            then `request_commit` alone binds it.
        claim: oid of the claim that it answers, None where there was none.
        verdict: overall verdict of the gates, where the job was judged.
        message: one line for a person; `problems` holds the errors by path.
        work: digest of what ran (code, params, inputs, packages, hardware), where it may be reused.
        reused_from: the job whose evidence answers this one.
    """

    state: str
    request: str | None
    request_commit: str
    attempt: int
    by: str
    nonce: str
    message: str = ""
    claim: str | None = None
    exit: Exit | None = None
    verdict: str | None = None
    evidence: str | None = None
    artifacts: tuple[ArtifactRef, ...] = ()
    problems: tuple[str, ...] = ()
    work: str | None = None
    reused_from: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A claim that a heartbeat lists: the job's id and the claim's oid."""

    id: str
    claim: str


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a runner does not take a job.

    `reason` is label, policy, resources, preset, version, busy or draining; `detail` is for a
    person.
    """

    id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a runner says of itself in its heartbeat."""

    labels: tuple[str, ...]
    resources: Resources
    free: Resources
    trusted: str
    code_policy: str
    isolation: str
    executors: tuple[str, ...]
    os: str
    version: str
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A runner's sign of life: its session, the claims it holds, what it declines."""

    runner: str
    session: str
    sequence: int
    nonce: str
    heartbeat_s: float
    facts: Facts
    claims: tuple[Held, ...] = ()
    declines: tuple[Decline, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelWish:
    """A client's wish that a claimed job end."""

    id: str
    request: str
    by: str
    nonce: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KeyNote:
    """An idempotency key that is taken: by which job, asked for by which manifest.

    `manifest` is the digest of the request without its id, nonce and time.
    """

    id: str
    manifest: str
    nonce: str


@dataclass(frozen=True, slots=True)
class ArtNote:
    """What lies at `<root>/art/<sha256>`: its digest and size.

    `store` is parts (files `parts/0000` and on, 8 MiB each) or lfs (a git-lfs pointer).
    """

    sha256: str
    bytes: int
    store: str


@dataclass(frozen=True, slots=True)
class Step:
    """One commit of a folded job's chain: what it recorded, and its subject."""

    oid: str
    event: str
    subject: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The signed commit that ended a folded job, so that its signature can still be checked.

    `tree` is the commit's root tree in base64: it names what the ledger keeps, and what it does not
    (the logs, the files of a branch below).
    """

    payload: str
    signature: str
    tree: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger says of an ended job beside the files of its last valid commit.

    Attributes:
        id: the job's id.
        ref: the ref that it had; deleted by the fold.
        tip: where that ref stood.
        head: the last valid commit, whose files the ledger keeps.
        request_commit: the first commit of the chain.
        archive: ref that keeps the chain, with its log, until it is expired.
        chunks: how many chunks of log the chain holds; the ledger keeps none of them.
        steps: every valid commit but those of the log, oldest first.
        fault: why the commits after `head` did not count.
        seal: `head` itself, where it is signed.
    """

    id: str
    ref: str
    tip: str
    head: str
    request_commit: str
    archive: str
    chunks: int
    steps: tuple[Step, ...]
    fault: str | None = None
    seal: Seal | None = None


KINDS: dict[str, type[Any]] = {
    "bus": BusIdentity,
    "request": Request,
    "claim": Claim,
    "log": LogChunk,
    "requeue": Requeue,
    "result": Result,
    "heartbeat": Heartbeat,
    "cancel": CancelWish,
    "key": KeyNote,
    "art": ArtNote,
    "entry": LedgerEntry,
    "campaign": Campaign,
    "move": Move,
}


def clean_text(text: str, limit: int) -> str:
    """`text` as a record may carry it: one line, no control or bidi characters, cut at `limit`."""
    kept = "".join(char if char.isprintable() else " " for char in text)
    return kept if len(kept) <= limit else f"{kept[: limit - 3]}..."
