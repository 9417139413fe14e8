"""What a client tells of a campaign: its nodes and cells, how it ended, its exit code. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.bus.course import Course, Standing
from bridge.campaigns import State
from bridge.cells import cells_of
from bridge.client.outcomes import VERDICT_CODES
from bridge.errors import ExitCode
from bridge.plans import Campaign, Node


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Where one node stands.

    Attributes:
        standing: waiting, open, closed or decided.
        cells: name of each planned cell to (job or "", state or "planned").
        gates: verdicts of its record, where it has one.
        closed_by: the edges that closed it, for a person.
    """

    id: str
    preset: str
    standing: str
    cells: Mapping[str, tuple[str, str]]
    verdict: str | None
    ran: int | None
    gates: Mapping[str, str]
    closed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """Where a campaign stands; `exit_code` is that of a wait that ended here."""

    id: str
    ref: str
    plan: Campaign | None
    state: State | None
    verdict: str | None
    reason: str
    nodes: tuple[NodeStatus, ...]
    launched: int
    planned: int
    hours: float
    story: tuple[str, ...]
    fault: str | None

    @property
    def exit_code(self) -> ExitCode:
        """What a command that waited for it ends with."""
        if self.state is State.DONE:
            return VERDICT_CODES.get(self.verdict, ExitCode.INTERNAL)
        return ExitCode.REFUSED if self.state is None else ExitCode.STILL_RUNNING

    @property
    def message(self) -> str:
        """One line for a person."""
        if self.state is State.DONE:
            return f"done, verdict {self.verdict}"
        if self.state is State.PAUSED:
            return f"paused: {self.reason or 'no reason given'}"
        if self.state is None:
            return f"not even the plan can be read: {self.fault}"
        return f"running: {self.launched} of {self.planned} cells launched"

    def as_json(self) -> dict[str, Any]:
        """The status as `--json` prints it."""
        return {
            "schema": "kakeya.campaign-status/1",
            "id": self.id,
            "ref": self.ref,
            "name": self.plan.name if self.plan else None,
            "state": self.state.value if self.state else None,
            "verdict": self.verdict,
            "message": self.message,
            "exit_code": int(self.exit_code),
            "nodes": [_node_json(node) for node in self.nodes],
            "cells": {"planned": self.planned, "launched": self.launched},
            "budget": {
                "jobs": self.plan.budget.jobs if self.plan else None,
                "hours": self.plan.budget.hours if self.plan else None,
                "hours_used": self.hours,
            },
            "story": list(self.story),
            "fault": self.fault,
        }


def _node_json(node: NodeStatus) -> dict[str, Any]:
    return {
        "node": node.id,
        "preset": node.preset,
        "standing": node.standing,
        "verdict": node.verdict,
        "ran": node.ran,
        "planned": len(node.cells),
        "gates": dict(node.gates),
        "closed_by": list(node.closed_by),
        "cells": [
            {"cell": name, "job": job or None, "state": state}
            for name, (job, state) in node.cells.items()
        ],
    }


def tell_campaign(course: Course, states: Mapping[str, str]) -> CampaignStatus:
    """The status that a chain tells.

    Args:
        course: the chain.
        states: state of each live job by its id; a launched job that is not among them was folded.
    """
    plan = course.plan
    nodes = tuple(_tell_node(course, node, states) for node in plan.nodes) if plan else ()
    last = course.last
    return CampaignStatus(
        id=course.id,
        ref=course.ref,
        plan=plan,
        state=course.state,
        verdict=last.verdict if course.ended and last else None,
        reason=last.reason if last else "",
        nodes=nodes,
        launched=len(course.launched),
        planned=sum(len(node.cells) for node in nodes),
        hours=sum(item.hours for item in course.decisions.values()),
        story=tuple(subject for _, subject in course.links),
        fault=course.fault,
    )


def _tell_node(course: Course, node: Node, states: Mapping[str, str]) -> NodeStatus:
    found = course.decisions.get(node.id)
    standing = course.standing(node)
    cells = {}
    for cell in cells_of(node):
        job = course.launched.get((node.id, cell.name), "")
        cells[cell.name] = (job, states.get(job, "folded") if job else "planned")
    return NodeStatus(
        node.id,
        node.preset.name,
        standing.value,
        cells,
        found.verdict if found else None,
        found.ran if found else None,
        found.gates if found else {},
        _closed_by(course, node) if standing is Standing.CLOSED else (),
    )


def _closed_by(course: Course, node: Node) -> tuple[str, ...]:
    lines = []
    for edge in node.after:
        found = course.decisions.get(edge.node)
        if found is None:
            lines.append(f"{edge.node} was not run")
            continue
        verdict = found.verdict if edge.gate is None else found.gates.get(edge.gate, "missing")
        if verdict not in edge.opens:
            what = f"gate {edge.gate} of {edge.node}" if edge.gate else f"{edge.node}"
            lines.append(f"{what} came to {verdict}, {' or '.join(edge.opens)} opens")
    return tuple(lines)
