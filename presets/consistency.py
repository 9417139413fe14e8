"""What a preset's schema cannot say: whether its parts agree with one another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from bridge.errors import ManifestError
from evidence.spec import parse_spec
from presets.params import ArtifactParam, Param
from presets.strict_yaml import child
from presets.tokens import RESERVED, Source, Token, parse_token

# A shell, or a program that starts its arguments, would turn a param into a command.
_SHELLS = (
    "bash",
    "cmd",
    "cmd.exe",
    "csh",
    "dash",
    "fish",
    "ksh",
    "powershell",
    "pwsh",
    "sh",
    "tcsh",
    "zsh",
)
_STARTERS = ("env", "nice", "nohup", "sudo", "time", "timeout", "xargs")
_LAUNCHERS = frozenset((*_SHELLS, *_STARTERS))
# Set by the runner alone: they would redirect its interpreter, its linker, git or the bridge.
_RUNNERS_OWN = re.compile(
    r"(?:GIT_|KAKEYA_|LD_|DYLD_|PYTHON|SSH_|BASH_)|(?:PATH|HOME|TMPDIR|ENV)\Z"
)


def find_problems(
    document: Mapping[str, Any], params: Mapping[str, Param], stem: str
) -> tuple[str, ...]:
    """Every contradiction in a preset whose shape the schema has checked, each at its path.

    Args:
        document: the parsed preset.
        params: its params, parsed.
        stem: the file's name without its suffix.
    """
    return (
        *_name_problems(document, stem),
        *_token_problems(document, params),
        *_variable_problems(document),
        *_limit_problems(document),
        *_judgement_problems(document, params),
    )


def config_tokens(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string inside a config with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from config_tokens(inner, child(path, key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from config_tokens(inner, child(path, index))


def _name_problems(document: Mapping[str, Any], stem: str) -> Iterator[str]:
    if document["name"] != stem:
        yield f"$.name: {document['name']!r} differs from the file's name {stem!r}"


def _token_problems(document: Mapping[str, Any], params: Mapping[str, Param]) -> Iterator[str]:
    used: set[str] = set()
    places = [
        *((f"$.argv[{index}]", text) for index, text in enumerate(document["argv"])),
        *config_tokens(document.get("config", {}), "$.config"),
        *((f"$.inputs.{role}", text) for role, text in document.get("inputs", {}).items()),
    ]
    for path, text in places:
        try:
            token = parse_token(text)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if token.source is Source.PARAM:
            used.add(token.text)
        if token.source is Source.ENV and token.text in document.get("secrets", ()):
            yield f"{path}: {token.text} is a secret, and argv and config are recorded"
        if reason := _misplaced(path, token, params):
            yield f"{path}: {reason}"
    for name in params:
        if name in RESERVED:
            yield f"$.params.{name}: the name is reserved"
        elif name not in used:
            yield f"$.params.{name}: declared, but used in neither argv, config nor inputs"


def _misplaced(path: str, token: Token, params: Mapping[str, Param]) -> str | None:
    """Why a token may not stand at `path`, or None where it may."""
    if path == "$.argv[0]":
        return _bad_program(token)
    if token.source is Source.PARAM:
        return _misplaced_param(path, token.text, params)
    if token.source is Source.RESERVED and not path.startswith("$.argv"):
        return f"{{{token.text}}} stands in argv only"
    if token.source is Source.RESERVED and token.text == "python":
        return "{python} stands first in argv only"
    return None


def _misplaced_param(path: str, name: str, params: Mapping[str, Param]) -> str | None:
    if name not in params:
        return f"no param {name!r} is declared"
    is_artifact, is_input = isinstance(params[name], ArtifactParam), path.startswith("$.inputs")
    if is_input and not is_artifact:
        return f"param {name!r} is no artifact"
    if is_artifact and not is_input:
        return f"artifact {name!r} is an input: name it under inputs"
    return None


def _bad_program(token: Token) -> str | None:
    if token.source is Source.RESERVED:
        return None if token.text == "python" else f"{{{token.text}}} is no program"
    if token.source is not Source.LITERAL:
        return "the program is fixed: a literal or {python}"
    if PurePosixPath(token.text).name.lower() in _LAUNCHERS:
        return f"{token.text!r} starts other programs from its arguments: name the program itself"
    return None


def _variable_problems(document: Mapping[str, Any]) -> Iterator[str]:
    secrets = set(document.get("secrets", ()))
    for key in ("env", "secrets"):
        for index, name in enumerate(document.get(key, ())):
            if _RUNNERS_OWN.match(name):
                yield f"$.{key}[{index}]: {name} is the runner's own"
            elif key == "env" and name in secrets:
                yield f"$.env[{index}]: {name} is listed under secrets too"


def _limit_problems(document: Mapping[str, Any]) -> Iterator[str]:
    limits, resources = document["limits"], document["resources"]
    if limits["memory_mb"] < resources["memory_mb"]:
        yield (
            f"$.limits.memory_mb: {limits['memory_mb']} is less than the "
            f"{resources['memory_mb']} that resources.memory_mb asks for"
        )
    if limits["output_mb"] > limits["disk_mb"]:
        yield f"$.limits.output_mb: {limits['output_mb']} is more than disk_mb {limits['disk_mb']}"
    if limits.get("grace_s", 0) > limits["wall_s"]:
        yield f"$.limits.grace_s: {limits['grace_s']} is more than wall_s {limits['wall_s']}"
    if resources.get("gpu_memory_mb", 0) and not resources.get("gpus", 0):
        yield "$.resources.gpu_memory_mb: needs gpus of at least 1"


def _judgement_problems(document: Mapping[str, Any], params: Mapping[str, Param]) -> Iterator[str]:
    """Faults of metrics, gates, plots and plan: the judge's own, and names that lead nowhere."""
    for path, text in config_tokens(document.get("plan", {}), "$.plan"):
        try:
            token = parse_token(text)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if token.source is Source.PARAM and token.text not in params:
            yield f"{path}: no param {token.text!r} is declared"
        elif token.source not in {Source.PARAM, Source.LITERAL}:
            yield f"{path}: a plan names params alone, for it is fixed before the run"
    judged = {
        key: document[key] for key in ("metrics", "gates", "plots", "plan") if key in document
    }
    try:
        spec = parse_spec(judged)
    except ManifestError as error:
        yield from error.problems
        return
    names = {metric.name for metric in spec.metrics}
    for index, gate in enumerate(document.get("gates", ())):
        for path, name in _metrics_read(gate["rule"], f"$.gates[{index}].rule"):
            if name not in names:
                yield f"{path}: no metric {name!r}"


def _metrics_read(rule: Any, path: str) -> Iterator[tuple[str, str]]:
    """The metrics of this record that a rule reads, each with its path."""
    if isinstance(rule, Mapping):
        if isinstance(rule.get("m"), str) and "base" not in rule:
            yield f"{path}.m", rule["m"]
        for key, inner in rule.items():
            yield from _metrics_read(inner, child(path, key))
    elif isinstance(rule, (list, tuple)):
        for index, inner in enumerate(rule):
            yield from _metrics_read(inner, child(path, index))
