"""The job file, and the strict building of a workload's `Config` from it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from bridge import canonical
from bridge.errors import UsageError

SCHEMA = "kakeya.job/1"
MAX_JOB_BYTES = 1024 * 1024

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Job:
    """What `job.json` says.

    Attributes:
        path: the file it came from, for messages.
        config: the workload's own settings, still unchecked.
        inputs: role to local path: weights, corpora, another job's artifact.
        out: folder that everything is written to.
        checkpoint: folder that outlives an attempt; None for one below `out`.
        attempt: 1 for the first try.
        seed: the runner's seed for this job.
    """

    path: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    checkpoint: Path | None = None
    attempt: int = 1
    seed: int = 0
    workload: str | None = None


def load(path: Path) -> Job:
    """The job file at `path`.

    Raises:
        UsageError: it cannot be read, is not strict JSON, or a field is missing, unknown or of
            the wrong type; `problems` names each at its path.
    """
    try:
        document = canonical.decode(path.read_bytes(), where=str(path), max_bytes=MAX_JOB_BYTES)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    problems = _find_problems(document)
    if problems:
        raise UsageError("not a job file", where=str(path), problems=tuple(problems))
    checkpoint = document.get("checkpoint")
    return Job(
        path=path,
        config=document.get("config", {}),
        inputs={role: Path(value) for role, value in document.get("inputs", {}).items()},
        out=Path(document["out"]),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        attempt=document.get("attempt", 1),
        seed=document.get("seed", 0),
        workload=document.get("workload"),
    )


_FIELDS: dict[str, type] = {
    "schema": str,
    "workload": str,
    "config": dict,
    "inputs": dict,
    "out": str,
    "checkpoint": str,
    "attempt": int,
    "seed": int,
}


def _find_problems(document: Any) -> list[str]:
    if not isinstance(document, dict):
        return ["$: an object is needed"]
    problems = [f"$.{key}: unknown key" for key in document if key not in _FIELDS]
    for key, kind in _FIELDS.items():
        value = document.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            problems.append(f"$.{key}: {_name(kind)} is needed, {_show(value)} is given")
    if document.get("schema") != SCHEMA:
        problems.append(f"$.schema: {SCHEMA!r} is needed, {_show(document.get('schema'))} is given")
    if "out" not in document:
        problems.append("$.out: missing")
    inputs = document.get("inputs")
    for role, value in inputs.items() if isinstance(inputs, dict) else ():
        if not isinstance(value, str):
            problems.append(f"$.inputs.{role}: a path is needed, {_show(value)} is given")
    return problems


def build_config(config_class: type[C], data: Mapping[str, Any], *, where: str = "") -> C:
    """A frozen `Config` from JSON data: every key known, every value of its declared type.

    Takes int, float, bool, str, `Literal`, `X | None` and `tuple[X, ...]` fields. An int may stand
    where a float is declared, never the reverse, and a boolean is no number. A `Config` whose
    `__post_init__` raises `UsageError` adds its own rules.

    Raises:
        UsageError: `problems` names each fault at its path, `$.config.<key>`.
    """
    hints = typing.get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    problems = [
        f"$.config.{key}: unknown key; known are {', '.join(sorted(fields))}"
        for key in data
        if key not in fields
    ]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(data[name], hints[name], f"$.config.{name}", problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"$.config.{name}: missing")
    if problems:
        raise UsageError("the config does not fit", where=where, problems=tuple(problems))
    try:
        return config_class(**values)
    except UsageError as error:
        raise UsageError(
            error.message, where=where, remedy=error.remedy, problems=error.problems
        ) from error


def list_problems(
    config: object,
    *,
    several: Sequence[str] = (),
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> list[str]:
    """What two common rules find wrong in a config's fields, for its `__post_init__`.

    Args:
        config: whose fields are looked at.
        several: tuples of which each value counts: none is empty, none has a value twice.
        bounds: lowest and highest value of a field, of each item where the field is a tuple.
    """
    problems = []
    for name in several:
        values = getattr(config, name)
        if not values or len(set(values)) != len(values):
            problems.append(f"$.config.{name}: at least one value, each once")
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        named = {name: value}
        if isinstance(value, tuple):
            named = {f"{name}[{index}]": item for index, item in enumerate(value)}
        problems += [
            f"$.config.{key}: {one} is outside {low} to {high}"
            for key, one in named.items()
            if not low <= one <= high
        ]
    return problems


def refuse_problems(problems: Sequence[str]) -> None:
    """Go on where nothing was found.

    Raises:
        UsageError: there are problems; it carries them all.
    """
    if problems:
        raise UsageError("the config does not fit", problems=tuple(problems))


def digest_config(config: object) -> str:
    """`sha256:<hex>` over a config's fields, defaults included."""
    return canonical.digest(canonical.thaw(dataclasses.asdict(config)))  # type: ignore[call-overload]


def require_input(inputs: Mapping[str, Path], role: str) -> Path:
    """The local path of an input.

    Raises:
        UsageError: the job names no such input, or nothing is there.
    """
    if role not in inputs:
        raise UsageError(
            f"input {role!r} is not named",
            where=f"$.inputs.{role}",
            remedy=f"name it in the preset, under inputs: {{{role}: ...}}",
        )
    path = inputs[role]
    if not path.exists():
        raise UsageError(f"input {role!r}: nothing is at {path}", where=f"$.inputs.{role}")
    return path


def _convert(value: Any, hint: Any, path: str, problems: list[str]) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_optional(value, hint, path, problems)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices or isinstance(value, bool):
            listed = ", ".join(repr(choice) for choice in choices)
            problems.append(f"{path}: one of {listed} is needed, {_show(value)} is given")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            problems.append(f"{path}: a list is needed, {_show(value)} is given")
            return ()
        inner = typing.get_args(hint)[0]
        return tuple(
            _convert(item, inner, f"{path}[{index}]", problems) for index, item in enumerate(value)
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        problems.append(f"{path}: {_name(hint)} is needed, {_show(value)} is given")
    return value


def _convert_optional(value: Any, hint: Any, path: str, problems: list[str]) -> Any:
    if value is None:
        return None
    inner = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    return _convert(value, inner, path, problems)


def _name(kind: type) -> str:
    return {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "a string",
        dict: "an object",
    }[kind]


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
