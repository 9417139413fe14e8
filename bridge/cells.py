"""From a plan to the requests of its cells: the same plan gives the same bytes to everybody. Pure.

The id of a cell's job is the digest of its request, so that whoever drives the campaign creates
the same ref, and a request that a plan's signature covers can be told from one that it does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from bridge import canonical, wire
from bridge.errors import IntegrityError
from bridge.plans import Campaign, Membership, Node
from bridge.records import Request

SEED = "seed"
"""The param that an axis of seeds goes over."""
WHOLE = "whole"
"""The one cell of a node without axes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of the values of a node's axes."""

    node: str
    name: str
    values: Mapping[str, Any]

    @property
    def path(self) -> str:
        """`node/name`: its name in the campaign."""
        return f"{self.node}/{self.name}"


def cells_of(node: Node) -> Iterator[Cell]:
    """Every cell of a node, the last axis turning fastest."""
    names = [axis.param for axis in node.axes]
    for values in product(*(axis.values for axis in node.axes)):
        placed = dict(zip(names, values, strict=True))
        yield Cell(node.id, name_cell(placed), placed)


def all_cells(plan: Campaign) -> tuple[Cell, ...]:
    """Every planned cell, node by node."""
    return tuple(cell for node in plan.nodes for cell in cells_of(node))


def name_cell(values: Mapping[str, Any]) -> str:
    """`lr=0.0002,jr=8`, or `whole` where there is nothing to tell apart."""
    return ",".join(f"{key}={show_value(value)}" for key, value in values.items()) or WHOLE


def show_value(value: Any) -> str:
    """A param's value as a cell's name and a sample's coordinate spell it."""
    if isinstance(value, str):
        return value
    return canonical.encode(value).decode()


def derive_request(plan: Campaign, cell: Cell, plan_digest: str | None = None) -> Request:
    """The request of a cell; every field follows from the plan.

    Args:
        plan: the plan in force.
        cell: one of its cells.
        plan_digest: of the plan, where the caller has it already.
    """
    node, plan_digest = plan.node(cell.node), plan_digest or wire.digest_of(plan)
    draft = Request(
        id=plan.id,
        bus=plan.bus,
        preset=node.preset,
        params={**node.params, **cell.values},
        code=plan.code,
        label=node.label,
        labels=node.labels,
        resources=node.resources,
        priority=node.priority,
        nonce=plan.nonce,
        requested_by=plan.requested_by,
        requested_at=plan.requested_at,
        max_attempts=node.max_attempts,
        executor=node.executor,
        campaign=Membership(plan.id, plan_digest, cell.node, cell.name),
        reuse=None if plan.fresh else True,
    )
    return _name(draft)


def _name(draft: Request) -> Request:
    """A cell's request under its own id and nonce, both from the digest of all else in it.

    Args:
        draft: the request, with the id and nonce of its plan.
    """
    found = hashlib.sha256(wire.to_bytes(draft)).digest()
    job_id = canonical.make_ulid(canonical.ulid_time_ms(draft.id), found[:10])
    return replace(draft, id=job_id, nonce=found[10:26].hex())


def check_member(request: Request, plan: Campaign) -> None:
    """Make sure that `request` is a cell of `plan`, as the plan says and not otherwise.

    Raises:
        IntegrityError: it is none, or differs from it.
    """
    member = request.campaign
    if member is None or member.plan != wire.digest_of(plan):
        raise IntegrityError("the request is no cell of this plan", where="$.campaign")
    node = next((node for node in plan.nodes if node.id == member.node), None)
    cells = cells_of(node) if node is not None else iter(())
    cell = next((cell for cell in cells if cell.name == member.cell), None)
    if cell is None:
        raise IntegrityError(f"the plan has no cell {member.node}/{member.cell}")
    if wire.digest_of(derive_request(plan, cell)) != wire.digest_of(request):
        raise IntegrityError("the request differs from the cell that the plan says it is")


def check_cell(request: Request, plan: Campaign, cell: Cell) -> None:
    """Make sure that a job is what the plan launched, under whichever amendment that was.

    Nodes that have begun are never amended, and a cell's id is the digest of its request.

    Raises:
        IntegrityError: it is something else.
    """
    node = plan.node(cell.node)
    named = _name(replace(request, id=plan.id, nonce=plan.nonce))
    fits = (
        (request.id, request.nonce) == (named.id, named.nonce)
        and request.preset == node.preset
        and dict(request.params) == {**node.params, **cell.values}
    )
    if not fits:
        raise IntegrityError(f"the job {request.id} is not the cell {cell.path}")
