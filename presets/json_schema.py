"""The params of a preset as a JSON Schema, for callers that check before they ask. Pure.

What the schema admits is what `presets.binding.bind` admits, but for characters that no param may
hold and `..` in paths (`presets.arguments`): those are refused when the request is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from presets.definition import Preset
from presets.params import (
    MAX_STRING,
    EnumParam,
    IntParam,
    NumberParam,
    Param,
    PathParam,
    StringParam,
)

_END = r"(?![\s\S])"
"""The end of a text in every dialect; in Python's, `$` lets a last line break pass."""
_DIGEST = "^sha256:[0-9a-f]{64}$"


def params_schema(preset: Preset) -> dict[str, Any]:
    """The schema of the object `params` of a request for `preset`."""
    params = preset.params.values()
    return {
        "type": "object",
        "properties": {param.name: param_schema(param) for param in params},
        "required": [param.name for param in params if param.default is None],
        "additionalProperties": False,
    }


def param_schema(param: Param) -> dict[str, Any]:
    """The schema of one param, with its bounds, default and meaning."""
    told: dict[str, Any] = {**_KINDS[param.kind](param), "description": param.doc}
    return told if param.default is None else {**told, "default": param.default}


def _range(param: Param) -> dict[str, Any]:
    bounds = cast("IntParam | NumberParam", param)
    kind = "integer" if param.kind == "int" else "number"
    return {"type": kind, "minimum": bounds.min, "maximum": bounds.max}


def _string(param: Param) -> dict[str, Any]:
    text = cast("StringParam", param)
    return {"type": "string", "pattern": f"^(?:{text.pattern}){_END}", "maxLength": text.max_length}


def _path(param: Param) -> dict[str, Any]:
    prefix = re.escape(cast("PathParam", param).prefix)
    return {"type": "string", "pattern": f"^{prefix}(?:/.*)?{_END}", "maxLength": MAX_STRING}


_KINDS: dict[str, Callable[[Param], dict[str, Any]]] = {
    "int": _range,
    "number": _range,
    "enum": lambda param: {"enum": list(cast("EnumParam", param).values)},
    "bool": lambda _: {"type": "boolean"},
    "string": _string,
    "path": _path,
    "artifact": lambda _: {"type": "string", "pattern": _DIGEST},
}
