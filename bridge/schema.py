r"""JSON Schema validation that reports every fault at its path. Pure.

Two traps of the plain library are closed: a float such as `1.0` is no integer, and a boolean is
no number. Patterns in our schemas end with `(?![\s\S])`, since `$` lets a trailing newline by.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from bridge.errors import ManifestError

MAX_PROBLEMS = 20


def check(value: object, schema: dict[str, Any], *, where: str, remedy: str = "") -> None:
    """Validate `value` against `schema`.

    Raises:
        ManifestError: `problems` holds one `path: message` for each fault (at most 20).
    """
    validator = _validator(json.dumps(schema, sort_keys=True))
    errors = sorted(validator.iter_errors(value), key=lambda error: str(error.json_path))
    if not errors:
        return
    problems = tuple(_describe(error) for error in errors[:MAX_PROBLEMS])
    if len(errors) > MAX_PROBLEMS:
        problems += (f"and {len(errors) - MAX_PROBLEMS} more",)
    raise ManifestError("does not fit its schema", where=where, remedy=remedy, problems=problems)


def load(package: str, name: str) -> dict[str, Any]:
    """A published schema: `<name>.schema.json` in `package`'s `schemas/` folder."""
    text = resources.files(package).joinpath("schemas", f"{name}.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@functools.cache
def _validator(schema_text: str) -> Any:
    import jsonschema

    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ).redefine(
        "number", lambda _, value: isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    extend: Any = jsonschema.validators.extend
    return extend(base, type_checker=checker)(json.loads(schema_text))


def _describe(error: Any) -> str:
    message = str(error.message)
    if len(message) > 300:
        message = f"{message[:140]} ... {message[-140:]}"
    return f"{error.json_path}: {message}"
