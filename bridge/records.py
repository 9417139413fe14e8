"""Every record that crosses the bus: one frozen dataclass each, parsed in this one place. Pure.

A record is canonical JSON with a `schema` field `kakeya.<kind>/<major>`. Requests reject unknown
fields; the others ignore what a newer minor version adds. Shapes: `bridge/schemas/*.schema.json`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from bridge import canonical, schema
from bridge.errors import ManifestError, RefusedError
from bridge.plans import Campaign, Membership, Move
from bridge.plans import PresetRef as PresetRef
from bridge.plans import Resources as Resources

PROTOCOL = 1
MAX_REQUEST_BYTES = 64 * 1024
MAX_RECORD_BYTES = 256 * 1024
_REMEMBERED_BYTES = 16 * 1024

R = TypeVar("R")


class VersionSkewError(RefusedError):
    """A record was written by a newer protocol major than this program speaks."""

    code = "version-skew"


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
_KIND_OF = {record: kind for kind, record in KINDS.items()}


def to_json(record: object) -> dict[str, Any]:
    """A wire record as JSON data, with its `schema` field; absent options are left out."""
    return {"schema": f"kakeya.{_KIND_OF[type(record)]}/{PROTOCOL}", **plain(record)}


def to_bytes(record: object) -> bytes:
    """A wire record as it stands in a commit: canonical JSON and a newline."""
    return canonical.encode(to_json(record)) + b"\n"


def digest_of(record: object) -> str:
    """The digest that binds other records to this one."""
    return canonical.digest(to_json(record))


def parse(kind: str, data: bytes, *, where: str = "") -> Any:
    """A wire record from its bytes.

    Raises:
        ManifestError: not JSON, not this schema, or out of bounds; each fault at its path.
        VersionSkewError: written by a newer protocol major.
    """
    # a chain is read again at each of its steps, and its records never change
    return (
        _parse_again(kind, data, where)
        if len(data) < _REMEMBERED_BYTES
        else _parse(kind, data, where)
    )


def _parse(kind: str, data: bytes, where: str) -> Any:
    limit = MAX_REQUEST_BYTES if kind == "request" else MAX_RECORD_BYTES
    value = canonical.decode(data, where=where or kind, max_bytes=limit)
    return from_json(kind, value, where=where)


_parse_again = functools.lru_cache(maxsize=2048)(_parse)


def from_json(kind: str, value: object, *, where: str = "") -> Any:
    """A wire record from JSON data; raises as `parse`."""
    _check_version(kind, value, where or kind)
    schema.check_published(value, "bridge", kind, where=where or kind)
    return _build(KINDS[kind], cast("dict[str, Any]", value))


def manifest_digest(request: Request) -> str:
    """What two submissions under one idempotency key must share: all but id, nonce and time."""
    data = to_json(request)
    return canonical.digest(
        {key: data[key] for key in data.keys() - {"id", "nonce", "requested_at"}}
    )


def parse_request(data: bytes, *, where: str = "request") -> Request:
    """A request from its bytes; raises as `parse`."""
    return cast("Request", parse("request", data, where=where))


def clean_text(text: str, limit: int) -> str:
    """`text` as a record may carry it: one line, no control or bidi characters, cut at `limit`."""
    kept = "".join(char if char.isprintable() else " " for char in text)
    return kept if len(kept) <= limit else f"{kept[: limit - 3]}..."


def _check_version(kind: str, value: object, where: str) -> None:
    name = value.get("schema") if isinstance(value, dict) else None
    prefix = f"kakeya.{kind}/"
    if not isinstance(name, str) or not name.startswith(prefix):
        raise ManifestError(f"$.schema: expected {prefix}{PROTOCOL}", where=where)
    major = name[len(prefix) :]
    if major.isascii() and major.isdigit() and len(major) < 6 and int(major) > PROTOCOL:
        raise VersionSkewError(
            f"{name} was written by a newer program; this one speaks {prefix}{PROTOCOL}",
            where=where,
            remedy="upgrade kakeya_remote on this machine: git pull, then make demo",
        )


def plain(value: Any) -> Any:
    """A record, or a part of one, as JSON data; absent options are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if not (getattr(value, item.name) is None and item.default is None)
        }
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(inner) for inner in value]
    return value


def _build(record: type[R], data: dict[str, Any]) -> R:
    hints = _hints(cast("Any", record))
    values = {
        item.name: _convert(hints[item.name], data[item.name])
        for item in dataclasses.fields(cast("Any", record))
        if item.name in data
    }
    return record(**values)


@functools.cache
def _hints(record: Any) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _convert(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _convert(options[0], value)
    if typing.get_origin(hint) is tuple:
        return tuple(_convert(typing.get_args(hint)[0], inner) for inner in value)
    if dataclasses.is_dataclass(hint):
        return _build(cast("type[Any]", hint), value)
    if typing.get_origin(hint) is Mapping:
        return canonical.freeze(value)
    if hint is float:
        return float(value)
    return value
