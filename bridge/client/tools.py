"""What an agent may call: a tool for each preset, and those that follow a job. Knows no protocol.

Every call opens a client of its own, so that calls may run side by side, and every wait is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from bridge import schema
from bridge.client.api import Client
from bridge.client.draft import compose_draft
from bridge.client.following import ACTIONS, FOLLOWING, WAIT_SCHEMA, Tool, object_schema, wait_for
from bridge.client.outcomes import Submission
from bridge.errors import UsageError
from presets.definition import Preset
from presets.json_schema import params_schema

PREFIX = "run_"
_ASKING: dict[str, Any] = {
    "wait_s": {**WAIT_SCHEMA, "default": 0},
    "key": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": "idempotency key: the same manifest under it gives the same job",
    },
    "priority": {"type": "integer", "minimum": 0, "maximum": 9, "description": "0 first, 9 last"},
    "queue_timeout_s": {
        "type": "integer",
        "minimum": 1,
        "maximum": 31536000,
        "description": "how long it may wait unclaimed",
    },
    "code": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": "revision whose code runs; HEAD by default",
    },
}

_RUN = Tool(
    "run",
    "Submit a job of any preset by name; as the run_PRESET tools, whose schemas hold the bounds of "
    "the params.",
    object_schema(
        {
            "preset": {"type": "string", "minLength": 1, "maxLength": 64},
            "params": {"type": "object"},
            **_ASKING,
        },
        ["preset"],
    ),
    reads=False,
)

OpenClient = Callable[[], AbstractContextManager[Client]]


class Tools:
    """The tools of one bus.

    Args:
        open_client: opens a client for one call.
    """

    def __init__(self, open_client: OpenClient) -> None:
        self._open = open_client

    def list(self) -> tuple[Tool, ...]:
        """Every tool there is now: the presets may have changed since the last call.

        Raises:
            ManifestError: a preset is wrong.
        """
        with self._open() as client:
            presets = client.presets()
        return (*map(_preset_tool, presets.values()), _RUN, *FOLLOWING.values())

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What a tool answers, as JSON data with a `schema` field.

        Raises:
            UsageError: no such tool, or arguments that do not fit, each at its path.
            KakeyaError: what the call itself raises.
        """
        with self._open() as client:
            if name == _RUN.name:
                _check(_RUN, arguments)
                return _ask(client, arguments["preset"], arguments)
            if name in FOLLOWING:
                _check(FOLLOWING[name], arguments)
                return ACTIONS[name](client, arguments)
            preset = client.presets().get(name.removeprefix(PREFIX))
            if preset is None or not name.startswith(PREFIX):
                known = ", ".join((_RUN.name, *FOLLOWING))
                raise UsageError(
                    f"there is no tool {name[:100]!r}",
                    where="tool",
                    remedy=f"list the tools: {PREFIX}PRESET for each preset, and {known}",
                )
            # the params are left to the preset's own check, which names each fault at its path
            _check(_preset_tool(preset, checked=False), arguments)
            return _ask(client, preset.name, arguments)


def _preset_tool(preset: Preset, *, checked: bool = True) -> Tool:
    params = params_schema(preset) if checked else {"type": "object"}
    needed = ["params"] if checked and params["required"] else []
    gates = f"{len(preset.gates)} gates" if preset.gates else "no gates, so no verdict"
    limit = f"at most {preset.limits.wall_s} s"
    return Tool(
        f"{PREFIX}{preset.name}",
        f"{preset.description} Submits a job ({gates}, {limit}); returns its id, or its outcome "
        "where wait_s is given.",
        object_schema({"params": params, **_ASKING}, needed),
        reads=False,
    )


def _check(tool: Tool, arguments: Mapping[str, Any]) -> None:
    schema.check(
        dict(arguments),
        dict(tool.arguments),
        where=f"arguments of {tool.name}",
        remedy="correct each line above; the tool's schema holds the bounds",
    )


def _ask(client: Client, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    draft = compose_draft(
        client.catalog()[0].get(name),
        given.get("params", {}),
        priority=given.get("priority"),
        queue_timeout_s=given.get("queue_timeout_s"),
    )
    request = client.draft(draft, code=given.get("code", "HEAD"))
    submission = client.send(request, key=given.get("key"))
    wait_s = given.get("wait_s", 0)
    return wait_for(client, submission.id, wait_s) if wait_s else _tell(submission)


def _tell(submission: Submission) -> dict[str, Any]:
    return {**submission.as_json(), "next": f'call wait with {{"id": "{submission.id}"}}'}
