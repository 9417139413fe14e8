r"""JSON Schema validation that reports every fault at its path. Pure.

Traps of the plain library are closed: a float such as `1.0` is no integer, a boolean is no number,
`uniqueItems` is linear, and what a stranger wrote is quoted short and printable. Patterns in our
schemas end with `(?![\s\S])`, since `$` lets a trailing newline by.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from bridge import canonical
from bridge.errors import ManifestError

MAX_PROBLEMS = 20
MAX_PATH = 200
MAX_MESSAGE = 300

_WHOLE = repr(r"(?![\s\S])")[1:]  # how a pattern ends in a message of the library
_COUNTED = {
    "maxItems": "items",
    "minItems": "items",
    "maxLength": "characters",
    "minLength": "characters",
    "maxProperties": "keys",
}


def check(value: object, schema: dict[str, Any], *, where: str, remedy: str = "") -> None:
    """Validate `value` against `schema`.

    Raises:
        ManifestError: `problems` holds one `path: message` for each fault (at most 20).
    """
    _check(value, _validator(json.dumps(schema, sort_keys=True)), where, remedy)


def check_published(
    value: object, package: str, name: str, *, where: str, remedy: str = ""
) -> None:
    """Validate `value` against a published schema, read and compiled once; raises as `check`."""
    _check(value, _published(package, name), where, remedy)


def _check(value: object, validator: Any, where: str, remedy: str) -> None:
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
def _published(package: str, name: str) -> Any:
    return _validator(json.dumps(load(package, name), sort_keys=True))


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
    strict = extend(base, {"uniqueItems": _unique_items}, type_checker=checker)
    return strict(json.loads(schema_text))


def _describe(error: Any) -> str:
    path = canonical.printable(str(error.json_path), MAX_PATH)
    return f"{path}: {canonical.printable(_message(error), MAX_MESSAGE)}"


def _message(error: Any) -> str:
    """What is wrong, without repeating a value that may be as large as the whole record."""
    noun = _COUNTED.get(error.validator)
    if noun:
        bound = "at most" if error.validator.startswith("max") else "at least"
        return f"{len(error.instance)} {noun}, {bound} {error.validator_value} are taken"
    if error.validator == "uniqueItems":
        return "holds an item twice"
    if error.validator == "pattern" and "description" in error.schema:
        return f"{error.instance!a} is not {error.schema['description']}"
    return str(error.message).replace(_WHOLE, "'")


def _unique_items(_: Any, wanted: bool, instance: Any, schema: dict[str, Any]) -> Iterator[Any]:
    """`uniqueItems` in linear time, and not at all where `maxItems` refuses the array anyhow.

    The library compares mixed items pair by pair: 5,800 of them in a 64 KB request took 19 s.
    """
    import jsonschema

    if not wanted or not isinstance(instance, list):
        return
    if len(instance) > schema.get("maxItems", len(instance)):
        return
    texts = [json.dumps(item, sort_keys=True) for item in instance]
    if len(set(texts)) < len(texts):
        yield jsonschema.ValidationError("holds an item twice")
