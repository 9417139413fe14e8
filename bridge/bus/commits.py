"""The commits of a job's chain, composed in memory: subject, body, record and files.

A reader of `git log` on the job's branch gets the whole story from the messages alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge import records, wire
from bridge.bus.binding import RECORD_FILES
from bridge.bus.chain import Chain
from bridge.bus.standing import SIGNED_STEPS
from bridge.objects import Base, Identity, Prepared, build_commit
from bridge.records import Claim, LogChunk, Request, Requeue, Result
from bridge.states import Event

SKIP_CI = "[skip ci]"
SIGNATURE = "request.sig"


def requester_identity(name: str) -> Identity:
    """The author of a client's commits."""
    return Identity(name, "requester@kakeya.invalid")


def runner_identity(runner: str, sign: Callable[[bytes], bytes] | None = None) -> Identity:
    """The author of a runner's commits; with `sign`, of signed ones."""
    return Identity(f"kakeya runner {runner}", f"{runner}@kakeya.invalid", sign)


def compose_request(
    request: Request,
    *,
    when_s: int,
    signature: bytes | None = None,
    base: Base | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Prepared:
    """The commit that submits a request: the request file, and its signature if any.

    An orphan, or the child of `base` with its tree, so that GitHub finds workflow files in it.

    Args:
        request: what is asked.
        when_s: Unix time; for people, nothing is decided by it.
        signature: over the request file.
        base: what it is to stand on.
        beside: further files, such as the plan of the campaign that the request is a cell of.
    """
    params = ", ".join(f"{key}={value}" for key, value in sorted(request.params.items()))
    body = [
        f"preset {request.preset.name} ({request.preset.digest[:19]})",
        f"params {params or '(none)'}",
        f"code {request.code}",
        f"labels {', '.join(request.labels)}; priority {request.priority}",
        *(f"predicts {item.id} ({item.credence}): {item.text}" for item in request.predictions),
        SIGNED_STEPS,
    ]
    return build_commit(
        {
            "request.json": wire.to_bytes(request),
            **({SIGNATURE: signature} if signature else {}),
            **(beside or {}),
        },
        kept_files={},
        parents=(base.oid,) if base else (),
        base=base,
        message=_message(f"request {request.preset.name}, by {request.requested_by}", body),
        author=requester_identity(request.requested_by),
        when_s=when_s,
    )


def compose_step(
    chain: Chain,
    event: Event,
    record: Claim | LogChunk | Requeue | Result,
    *,
    author: Identity,
    when_s: int,
    files: Mapping[str, bytes] | None = None,
    story: tuple[str, ...] = (),
) -> Prepared:
    """The commit that takes `chain` one step on, over whatever foreign commit stands at its tip.

    Args:
        chain: where the job stands.
        event: what happens.
        record: the record that says so.
        author: who writes it.
        when_s: Unix time; for people, nothing is decided by it.
        files: further files by path, such as a chunk of log or the evidence.
        story: lines for the commit's body.
    """
    over = [f"writes over {chain.fault}"] if chain.fault else []
    return build_commit(
        {RECORD_FILES[event]: wire.to_bytes(record), **(files or {})},
        kept_files=chain.files,
        parents=(chain.tip,),
        base=chain.base,
        message=_message(_subject(event, record), [*_story(record), *over, *story])
        + f"\n{SKIP_CI}\n",
        author=author,
        when_s=when_s,
    )


def compose_note(
    name: str, record: object, subject: str, author: Identity, when_s: int
) -> Prepared:
    """An orphan commit of one record: a heartbeat, a cancel wish, the bus's identity."""
    return build_commit(
        {name: wire.to_bytes(record)},
        kept_files={},
        parents=(),
        message=f"kakeya: {records.clean_text(subject, 200)}\n\n{SKIP_CI}\n",
        author=author,
        when_s=when_s,
    )


def _message(subject: str, body: list[str]) -> str:
    lines = [f"kakeya: {records.clean_text(subject, 160)}"]
    if body:
        lines += ["", *(records.clean_text(line, 300) for line in body)]
    return "\n".join(lines) + "\n"


def _subject(event: Event, record: Any) -> str:
    by = getattr(record, "by", None) or getattr(record, "runner", None)
    subject = f"{event.value}, attempt {record.attempt}"
    if isinstance(record, LogChunk):
        return f"{subject}, part {record.sequence}{_step(record)}"
    return f"{subject}, by {by}" if by else subject


def _step(chunk: LogChunk) -> str:
    if chunk.progress is None:
        return ""
    total = f" of {chunk.progress.total}" if chunk.progress.total else ""
    return f", step {chunk.progress.step}{total}"


def _story(record: Any) -> list[str]:
    if isinstance(record, Claim):
        return [
            f"trusted commit {record.trusted}",
            f"executor {record.executor}, isolation {record.isolation}",
            f"lease {record.lease_s:g} s, heartbeat {record.heartbeat_s:g} s",
        ]
    if isinstance(record, LogChunk):
        note = record.progress.note if record.progress else ""
        return [note] if note else []
    if isinstance(record, Requeue):
        return [f"the claim {record.claim[:12]} is fenced off: {record.reason}"]
    if isinstance(record, Result):
        return _result_story(record)
    return []


def _result_story(result: Result) -> list[str]:
    lines = [result.message] if result.message else []
    if result.exit is not None:
        ended = (
            f"exit code {result.exit.code}"
            if result.exit.signal is None
            else (f"signal {result.exit.signal}")
        )
        lines.append(f"job ended by {result.exit.reason}, {ended}")
    if result.verdict:
        lines.append(f"verdict {result.verdict}")
    if result.evidence:
        lines.append(f"evidence {result.evidence}")
    return [*lines, *result.problems[:20]]
