"""The commits of a campaign's chain, composed in memory, and its cells' requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge import wire
from bridge.bus.commits import SKIP_CI, compose_request, requester_identity
from bridge.bus.course import MOVE, PLAN, PLAN_SIGNATURE, Course
from bridge.bus.endings import Signer
from bridge.bus.refs import JobRef, Refs
from bridge.bus.remote import Update
from bridge.campaigns import Event
from bridge.canonical import ulid_time_ms
from bridge.cells import Cell, derive_request
from bridge.objects import Prepared, build_commit
from bridge.plans import Campaign, Launched, Move
from bridge.records import clean_text


def compose_plan(plan: Campaign, *, when_s: int, signature: bytes | None = None) -> Prepared:
    """The orphan commit that begins a campaign."""
    story = [
        f"code {plan.code}",
        *(f"node {node.id}: preset {node.preset.name}" for node in plan.nodes),
    ]
    return build_commit(
        _plan_files(plan, signature),
        kept_files={},
        parents=(),
        message=_message(f"campaign {plan.name}, by {plan.requested_by}", story),
        author=requester_identity(plan.requested_by),
        when_s=when_s,
    )


def compose_move(
    course: Course,
    event: Event,
    signer: Signer,
    *,
    plan: Campaign | None = None,
    signature: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Prepared:
    """The commit of one step, over whatever foreign commit stands at the tip.

    Args:
        course: where the campaign stands.
        event: what happens.
        signer: who writes it.
        plan: what an amendment puts in place of the plan before.
        signature: over that plan.
        files: the files of a record, by path.
        fields: further fields of the step (`bridge.plans.Move`).
    """
    move = Move(
        campaign=course.plan_digest,
        event=event.value,
        by=clean_text(signer.by, 200),
        nonce=signer.nonce,
        **fields,
    )
    kept = dict(course.files)
    if plan is not None:
        kept.pop(PLAN_SIGNATURE, None)
    return build_commit(
        {
            MOVE: wire.to_bytes(move),
            **(_plan_files(plan, signature) if plan is not None else {}),
            **(files or {}),
        },
        kept_files=kept,
        parents=(course.tip,),
        message=_message(_subject(event, move, signer), _story(move)),
        author=signer.author,
        when_s=signer.when_s,
    )


def launch_updates(
    refs: Refs,
    course: Course,
    cells: Sequence[Cell],
    signer: Signer,
    plan_files: Mapping[str, bytes],
) -> list[Update]:
    """One atomic push: the step that names the cells, and the refs of their requests.

    Args:
        refs: names of the bus.
        course: where the campaign stands.
        cells: what is launched.
        signer: who drives.
        plan_files: the plan and its signature, as they stand in the campaign's commit.
    """
    plan = course.plan
    assert plan is not None
    requests = [derive_request(plan, cell, course.plan_digest) for cell in cells]
    when_s = ulid_time_ms(plan.id) // 1000  # the same commit whoever composes it
    updates = [
        Update(
            refs.job(JobRef(request.label, request.priority, request.id)),
            None,
            compose_request(request, when_s=when_s, beside=plan_files),
        )
        for request in requests
    ]
    launched = [
        Launched(cell.node, cell.name, request.id)
        for cell, request in zip(cells, requests, strict=True)
    ]
    step = compose_move(course, Event.LAUNCH, signer, cells=launched)
    return [Update(course.ref, course.tip, step), *updates]


def _plan_files(plan: Campaign, signature: bytes | None) -> dict[str, bytes]:
    return {
        PLAN: wire.to_bytes(plan),
        **({PLAN_SIGNATURE: signature} if signature else {}),
    }


def _subject(event: Event, move: Move, signer: Signer) -> str:
    if event is Event.LAUNCH:
        return f"launch {len(move.cells)} cells, by {signer.by}"
    if event is Event.DECIDE:
        assert move.decision is not None
        return f"decide {move.decision.node}: {move.decision.verdict}, by {signer.by}"
    told = f" {move.verdict}" if move.verdict else ""
    return f"{event.value}{told}, by {signer.by}"


def _story(move: Move) -> list[str]:
    lines = [move.reason] if move.reason else []
    lines += [f"{item.node}/{item.cell}: {item.job}" for item in move.cells]
    if move.decision is not None:
        found = move.decision
        lines.append(f"{found.ran} of {found.planned} cells ran; record {found.evidence}")
        lines += [f"gate {name}: {verdict}" for name, verdict in found.gates.items()]
    return [*lines, *move.changes]


def _message(subject: str, story: Sequence[str]) -> str:
    lines = [f"kakeya: {clean_text(subject, 160)}", "", *(clean_text(line, 300) for line in story)]
    return "\n".join(lines).rstrip() + f"\n\n{SKIP_CI}\n"
