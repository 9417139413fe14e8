"""What an amendment of a campaign may change, and what it does change."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from bridge import wire
from bridge.bus.course import Course, frozen_nodes
from bridge.errors import ManifestError
from bridge.plans import Campaign


def replace_plan(course: Course, fresh: Campaign, reason: str) -> Campaign:
    """The new plan under the identity of the old one.

    Raises:
        ManifestError: it changes or drops a node that has begun.
    """
    assert course.plan is not None
    old = course.plan
    now = {node.id: node for node in fresh.nodes}
    begun = frozen_nodes(course)
    problems = [
        f"$.nodes.{node.id}: it has begun, and cannot be changed any more"
        for node in old.nodes
        if node.id in begun and now.get(node.id) != node
    ]
    if problems:
        raise ManifestError("the amendment is refused", where=old.id, problems=tuple(problems))
    kept = {name: getattr(old, name) for name in ("id", "bus", "requested_by", "nonce")}
    return replace(
        fresh, **kept, requested_at=old.requested_at, amends=course.plan_digest, reason=reason
    )


def name_changes(old: Campaign, new: Campaign) -> list[str]:
    """What differs between two plans, a line each."""
    lines: list[str] = []
    for name in ("name", "code", "budget", "parallel", "fresh", "description"):
        one, two = getattr(old, name), getattr(new, name)
        if one != two:
            lines.append(f"{name}: {_show(one)} becomes {_show(two)}")
    before = {node.id: node for node in old.nodes}
    after = {node.id: node for node in new.nodes}
    lines += [f"node {name}: dropped" for name in before if name not in after]
    lines += [f"node {name}: added" for name in after if name not in before]
    for name in before.keys() & after.keys():
        one_node, two_node = _plain(before[name]), _plain(after[name])
        lines += [
            f"node {name}, {key}: {_show(one_node.get(key))} becomes {_show(two_node.get(key))}"
            for key in sorted({*one_node, *two_node})
            if one_node.get(key) != two_node.get(key)
        ]
    return [line[:500] for line in lines]


def _plain(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = wire.plain(record)
    return found


def _show(value: Any) -> str:
    with contextlib.suppress(TypeError, ValueError):
        return json.dumps(wire.plain(value), sort_keys=True)
    return str(value)
