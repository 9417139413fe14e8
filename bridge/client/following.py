"""The tools with which an agent follows a job: each with its arguments, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.client.api import Client
from bridge.errors import UsageError
from bridge.states import State

DEFAULT_WAIT_S = 45
MAX_WAIT_S = 600
"""The longest that one call may wait; a caller that wants more calls `wait` again."""
MAX_LOG_BYTES = 64 * 1024
MAX_METRICS = 200
WAIT_SCHEMA = {
    "type": "number",
    "minimum": 0,
    "maximum": MAX_WAIT_S,
    "description": "seconds to wait for the end; the job goes on when they are over",
}
_ID = {"type": "string", "minLength": 26, "maxLength": 26, "description": "the job's id"}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its name, what it does, the JSON Schema of its arguments, whether it only reads."""

    name: str
    description: str
    arguments: Mapping[str, Any]
    reads: bool


def object_schema(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


def _wait(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    return wait_for(client, given["id"], given.get("timeout_s", DEFAULT_WAIT_S))


def wait_for(client: Client, job_id: str, timeout_s: float) -> dict[str, Any]:
    """The outcome of a bounded wait, with the gates of a job that has ended."""
    outcome = client.wait(job_id, timeout_s)
    told = outcome.as_json()
    if outcome.status.ended:
        told["gates"] = _gates(client.evidence(job_id) or {})
        told["next"] = f'call evidence with {{"id": "{outcome.status.id}"}}'
    else:
        told["next"] = f'call wait with {{"id": "{outcome.status.id}"}} again, or why, or cancel'
    return told


def _status(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    return client.status(given["id"]).as_json()


def _list(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    jobs = client.list(
        given.get("limit", 20),
        states=given.get("states", ()),
        preset=given.get("preset"),
        folded=given.get("folded", False),
    )
    names = ("id", "state", "preset", "attempt", "runner", "verdict")
    rows = [{name: job.as_json()[name] for name in names} for job in jobs]
    return {"schema": "kakeya.jobs/1", "jobs": rows}


def _runners(client: Client, _: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema": "kakeya.runners/1", "runners": [one.as_json() for one in client.fleet()]}


def _logs(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    data, wanted = b"", given.get("tail_bytes", 8192)
    total = 0
    for chunk in client.logs(given["id"], attempt=given.get("attempt")):
        total += len(chunk.data)
        data = (data + chunk.data)[-wanted:]
    return {
        "schema": "kakeya.log-text/1",
        "id": given["id"],
        "text": data.decode("utf-8", "replace"),
        "bytes": total,
        "left_out": total - len(data),
    }


def _evidence(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    record = client.evidence(given["id"])
    if record is None:
        raise UsageError(
            "the job has no evidence",
            where=given["id"],
            remedy="call status: it has not ended, or it was never judged",
        )
    result = record.get("result")
    metrics = _rows(record, "metrics", ("name", "arm", "at", "value", "n", "k", "ci", "unit"))
    return {
        "schema": "kakeya.evidence-told/1",
        "id": given["id"],
        "result": result if isinstance(result, dict) else {},
        "gates": _gates(record),
        "metrics": metrics[:MAX_METRICS],
        "metrics_left_out": max(0, len(metrics) - MAX_METRICS),
        "predictions": _rows(record, "predictions", ("id", "text", "credence", "outcome")),
        "gaps": _rows(record, "gaps", ("planned", "why", "load_bearing")),
        "doubts": _rows(record, "doubts", ("check", "detail")),
    }


def _gates(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _rows(record, "gates", ("id", "verdict", "blocking", "message"))


def _rows(record: Mapping[str, Any], name: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = record.get(name)
    return [
        {column: row.get(column) for column in columns}
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]


def _why(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    return client.why(given["id"]).as_json()


def _cancel(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    return client.cancel(given["id"], given.get("reason", "")).as_json()


_STATES = [state.value for state in State]
FOLLOWING: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "wait",
            "Wait for a job's end, for a bounded time; exit_code 0 means done with every blocking "
            "gate passed, 8 that the job goes on: call again.",
            object_schema(
                {"id": _ID, "timeout_s": {**WAIT_SCHEMA, "default": DEFAULT_WAIT_S}}, ["id"]
            ),
            reads=True,
        ),
        Tool("status", "Where a job stands now.", object_schema({"id": _ID}, ["id"]), reads=True),
        Tool(
            "list",
            "The newest jobs of the bus, newest first.",
            object_schema(
                {
                    "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 20},
                    "states": {"type": "array", "items": {"enum": _STATES}},
                    "preset": {"type": "string", "maxLength": 64},
                    "folded": {"type": "boolean", "default": False},
                },
                [],
            ),
            reads=True,
        ),
        Tool(
            "runners",
            "The runners of the bus: alive or silent, what is free, what they decline.",
            object_schema({}, []),
            reads=True,
        ),
        Tool(
            "logs",
            "The end of a job's output.",
            object_schema(
                {
                    "id": _ID,
                    "tail_bytes": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": MAX_LOG_BYTES,
                        "default": 8192,
                    },
                    "attempt": {"type": "integer", "minimum": 1, "maximum": 999},
                },
                ["id"],
            ),
            reads=True,
        ),
        Tool(
            "evidence",
            "What an ended job proved: verdict, gates, metrics with intervals, gaps, doubts.",
            object_schema({"id": _ID}, ["id"]),
            reads=True,
        ),
        Tool(
            "why",
            "Why a job does not move: the reason of every known runner.",
            object_schema({"id": _ID}, ["id"]),
            reads=True,
        ),
        Tool(
            "cancel",
            "End a job.",
            object_schema({"id": _ID, "reason": {"type": "string", "maxLength": 500}}, ["id"]),
            reads=False,
        ),
    )
}
ACTIONS: dict[str, Callable[[Client, Mapping[str, Any]], dict[str, Any]]] = {
    "wait": _wait,
    "status": _status,
    "list": _list,
    "runners": _runners,
    "logs": _logs,
    "evidence": _evidence,
    "why": _why,
    "cancel": _cancel,
}
