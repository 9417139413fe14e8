"""A campaign as it stands on the bus: its plan, and one record for each step. Pure.

`bridge.wire` reads and writes them with every other record of the wire; `bridge.cells` derives
the requests of a plan's cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OPENING = ("pass",)
"""Verdicts that open an edge which names none."""
MAX_CELLS = 2_000
"""Cells that one campaign may plan."""


@dataclass(frozen=True, slots=True)
class PresetRef:
    """An allowlisted workload, by name and by the digest of its definition."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job needs: CPU slots, memory in MiB, GPUs, memory per GPU in MiB."""

    cpus: int = 1
    memory_mb: int = 512
    gpus: int = 0
    gpu_memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Membership:
    """Which cell of which campaign a request is; `plan` is the digest of the plan it follows."""

    id: str
    plan: str
    node: str
    cell: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A param that takes several values; the axis `seed` is told apart in reports."""

    param: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """What must be decided before a node begins.

    Attributes:
        node: the node before it.
        gate: a gate of that node's record; None for the record's overall verdict.
        opens: verdicts that open the edge; every other one closes it.
    """

    node: str
    gate: str | None = None
    opens: tuple[str, ...] = OPENING


@dataclass(frozen=True, slots=True)
class Node:
    """One preset, once for each combination of its axes' values.

    Attributes:
        id: its name in the campaign.
        params: complete, but for those of the axes.
        gates: judged on the node's record beside those of the preset.
        after: edges that must all be open.
    """

    id: str
    preset: PresetRef
    params: Mapping[str, Any]
    label: str
    labels: tuple[str, ...]
    resources: Resources
    axes: tuple[Axis, ...] = ()
    gates: tuple[Mapping[str, Any], ...] = ()
    after: tuple[Edge, ...] = ()
    priority: int = 5
    max_attempts: int = 3
    executor: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a campaign may use: jobs launched, and hours of ended jobs; None for no bound."""

    jobs: int | None = None
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A frozen plan: a graph of presets with decision gates on its edges.

    Attributes:
        id: ULID, also in its ref.
        bus: id of the bus it was written for.
        code: the commit whose code every cell runs.
        parallel: cells that may be under way at once.
        fresh: run every cell although evidence of the same work may be there.
        amends: digest of the plan that this one replaces; `reason` says why.
    """

    id: str
    bus: str
    name: str
    code: str
    nodes: tuple[Node, ...]
    requested_by: str
    requested_at: str
    nonce: str
    budget: Budget = field(default_factory=Budget)
    parallel: int = 64
    fresh: bool = False
    description: str = ""
    amends: str | None = None
    reason: str = ""

    def node(self, name: str) -> Node:
        """The node of that name, which is there."""
        return next(node for node in self.nodes if node.id == name)


@dataclass(frozen=True, slots=True)
class Launched:
    """A cell that was put on the bus, and the job it became."""

    node: str
    cell: str
    job: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a node's record came to: its verdict, its gates', its digest, the hours it used."""

    node: str
    verdict: str
    evidence: str
    gates: Mapping[str, str]
    ran: int
    planned: int
    hours: float = 0.0


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a campaign.

    Attributes:
        campaign: digest of the plan in force before it.
        event: as in `bridge.campaigns.Event`.
        cells: put on the bus by the same push (launch).
        decision: a node's outcome (decide).
        changes: what an amendment changes, a line each.
    """

    campaign: str
    event: str
    by: str
    nonce: str
    reason: str = ""
    cells: tuple[Launched, ...] = ()
    decision: Decision | None = None
    verdict: str | None = None
    evidence: str | None = None
    changes: tuple[str, ...] = ()
