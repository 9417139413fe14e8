"""A preset: its frozen form, and how it is parsed from YAML and checked against itself. Pure.

Source of the file's shape: `presets/schemas/preset.schema.json`; for a person: docs/presets.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from bridge import canonical, schema
from bridge.errors import ManifestError
from bridge.records import Resources
from presets import strict_yaml
from presets.consistency import find_problems
from presets.params import Param, parse_param
from presets.tokens import Token, parse_token

DEFAULT_GRACE_S = 5
_LEADING_PATH = re.compile(r"(\$(?:\.[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+\]|\['(?:[^'\\]|\\.)*'\])*)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use before it is killed.

    Attributes:
        wall_s: seconds of wall clock.
        memory_mb: MiB of resident memory of all its processes.
        output_mb: MiB of printed output.
        disk_mb: MiB of files in its folder.
        grace_s: seconds between the polite signal and the kill.
    """

    wall_s: int
    memory_mb: int
    output_mb: int
    disk_mb: int
    grace_s: int = DEFAULT_GRACE_S


@dataclass(frozen=True, slots=True)
class CheckpointRule:
    """How much of a job's checkpoint folder goes to the bus, and how often.

    Attributes:
        max_mb: MiB of files; a folder that is larger is not kept there.
        every_s: least seconds between two checkpoints.
    """

    max_mb: int
    every_s: int


@dataclass(frozen=True, slots=True)
class Preset:
    """An allowlisted workload.

    Attributes:
        argv: the command as tokens; `{python}` may stand for several (see `render_argv`).
        config: what becomes the job's config, with `{param}` and `${ENV:NAME}` unfilled.
        inputs: role to token; a literal is `asset:NAME`.
        params: by name, in the file's order.
        labels: what a runner must have; `labels[0]` is the routing label.
        executors: allowed ones; `executors[0]` is the default.
        env: names passed through from the runner's environment.
        secrets: names of secret variables, for merged or signed code alone.
        retry_exit_codes: exit codes of the workload that may be tried again.
        checkpoint: what of the checkpoint folder is kept on the bus, None for nothing.
        plan: planned seeds and n, or None.
        metrics, gates, plots: in the language of docs/gates.md, frozen JSON data.
        digest: of the parsed document in canonical JSON; comments and layout do not count.
    """

    name: str
    description: str
    argv: tuple[Token, ...]
    config: Mapping[str, Any]
    inputs: Mapping[str, Token]
    params: Mapping[str, Param]
    labels: tuple[str, ...]
    resources: Resources
    limits: Limits
    executors: tuple[str, ...]
    env: tuple[str, ...]
    secrets: tuple[str, ...]
    retry_exit_codes: tuple[int, ...]
    checkpoint: CheckpointRule | None
    plan: Mapping[str, Any] | None
    metrics: tuple[Mapping[str, Any], ...]
    gates: tuple[Mapping[str, Any], ...]
    plots: tuple[Mapping[str, Any], ...]
    digest: str
    _source: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def document(self) -> dict[str, Any]:
        """The parsed document as JSON data, a fresh copy: what `digest` is the digest of."""
        data: dict[str, Any] = canonical.thaw(self._source)
        return data


def parse_preset(data: bytes, where: str) -> Preset:
    """A preset from the bytes of its YAML file.

    Args:
        data: the file's content.
        where: the file's name; its stem must be the preset's name.

    Raises:
        ManifestError: not strict YAML, not the schema, or at odds with itself; `problems` names
            each fault at its path and line.
    """
    read = strict_yaml.load(data, where=where)
    try:
        schema.check(read.value, schema.load("presets", "preset"), where=where)
        params = _parse_params(read.value, where)
        problems = find_problems(read.value, params, stem=PurePosixPath(where).stem)
        if problems:
            raise ManifestError("contradicts itself", where=where, problems=problems)
    except ManifestError as error:
        raise ManifestError(
            error.message,
            where=where,
            remedy=error.remedy or "docs/presets.md describes every key",
            problems=tuple(_with_line(problem, read.lines) for problem in error.problems),
        ) from error
    return _build(read.value, params)


def _parse_params(document: dict[str, Any], where: str) -> dict[str, Param]:
    params: dict[str, Param] = {}
    problems: list[str] = []
    for name, data in document.get("params", {}).items():
        try:
            params[name] = parse_param(name, data)
        except ValueError as error:
            problems.append(f"$.params.{name}: {error}")
    if problems:
        raise ManifestError("contradicts itself", where=where, problems=tuple(problems))
    return params


def _with_line(problem: str, lines: Mapping[str, int]) -> str:
    match = _LEADING_PATH.match(problem)
    line = lines.get(match[1]) if match else None
    return f"{problem} (line {line})" if line else problem


def _build(document: dict[str, Any], params: dict[str, Param]) -> Preset:
    frozen = canonical.freeze(document)
    inputs = {role: parse_token(text) for role, text in document.get("inputs", {}).items()}
    return Preset(
        name=document["name"],
        description=document["description"],
        argv=tuple(parse_token(text) for text in document["argv"]),
        config=frozen.get("config", MappingProxyType({})),
        inputs=MappingProxyType(inputs),
        params=MappingProxyType(params),
        labels=frozen["labels"],
        resources=Resources(**document["resources"]),
        limits=Limits(**document["limits"]),
        executors=frozen["executors"],
        env=frozen.get("env", ()),
        secrets=frozen.get("secrets", ()),
        retry_exit_codes=frozen.get("retry", {}).get("exit_codes", ()),
        checkpoint=CheckpointRule(**kept) if (kept := document.get("checkpoint")) else None,
        plan=frozen.get("plan"),
        metrics=frozen.get("metrics", ()),
        gates=frozen.get("gates", ()),
        plots=frozen.get("plots", ()),
        digest=canonical.digest(document),
        _source=frozen,
    )
