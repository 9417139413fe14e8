"""From a preset and the params of one request to what is run. Pure.

The same functions serve the client before it pushes and the runner before it launches.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import canonical
from bridge.errors import ManifestError, UsageError
from bridge.records import Prediction
from presets.arguments import number_text, show
from presets.definition import Preset
from presets.params import Scalar
from presets.tokens import Source, Token, parse_token

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Input:
    """Where one input comes from.

    Attributes:
        role: what the workload calls it.
        kind: `asset` (a name in the asset table), `path` (on the runner) or `artifact` (a digest).
        value: the name, the path or the digest.
    """

    role: str
    kind: str
    value: str


def bind(preset: Preset, params: object) -> dict[str, Scalar]:
    """The params of a request, complete: checked, with defaults filled in, in the preset's order.

    Raises:
        ManifestError: `problems` names every unknown, missing or misfitting param at
            `$.params.NAME`.
    """
    bound, problems = _bind(preset, params)
    if problems:
        raise ManifestError(
            f"the params do not fit preset {preset.name}",
            where="$.params",
            remedy=f"kakeya_remote presets {preset.name} shows the params and their bounds",
            problems=tuple(problems),
        )
    return bound


def _bind(preset: Preset, params: object) -> tuple[dict[str, Scalar], list[str]]:
    if not isinstance(params, Mapping):
        return {}, [f"$.params: {show(params)} is no object"]
    problems = [_unknown(preset, key) for key in params if key not in preset.params]
    bound: dict[str, Scalar] = {}
    for name, param in preset.params.items():
        if name in params:
            if reason := param.fault(params[name]):
                problems.append(f"$.params.{name}: {reason}")
            bound[name] = params[name]
        elif param.default is None:
            problems.append(f"$.params.{name}: missing; {param.kind}, {param.bounds()}")
        else:
            bound[name] = param.default
    return bound, problems


def _unknown(preset: Preset, key: object) -> str:
    if not isinstance(key, str) or not _NAME.match(key):
        return f"$.params: {show(key)} is no name of a param"
    close = difflib.get_close_matches(key, preset.params, n=1)
    known = f"did you mean {close[0]}?" if close else f"known: {', '.join(preset.params) or 'none'}"
    return f"$.params.{key}: unknown; {known}"


def parse_param_text(preset: Preset, texts: Sequence[str]) -> dict[str, Scalar]:
    """The params that `NAME=VALUE` texts of a command line stand for, typed but not yet bound.

    Raises:
        UsageError: a text without `=`.
        ManifestError: unknown or doubled names, or values that are not of the param's kind.
    """
    values: dict[str, Scalar] = {}
    problems: list[str] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{show(text)} is not NAME=VALUE", where="--param")
        param = preset.params.get(name)
        if param is None:
            problems.append(_unknown(preset, name))
        elif name in values:
            problems.append(f"$.params.{name}: given twice")
        else:
            try:
                values[name] = param.read(value)
            except ValueError as error:
                values[name] = value
                problems.append(f"$.params.{name}: {error}")
    if problems:
        raise ManifestError(
            f"the params do not fit preset {preset.name}",
            where="$.params",
            remedy=f"kakeya_remote presets {preset.name} shows the params and their bounds",
            problems=tuple(problems),
        )
    return values


def render_argv(
    preset: Preset,
    params: Mapping[str, Any],
    reserved: Mapping[str, str | Sequence[str]],
    env: Mapping[str, str],
) -> tuple[str, ...]:
    """The command that is run, token by token.

    Args:
        preset: the preset, from the trusted commit.
        params: bound params (see `bind`).
        reserved: values of `python`, `job` and `out`; a sequence stands for several tokens, as
            the interpreter with its bootstrap does.
        env: the runner's environment, for `${ENV:NAME}`.

    Raises:
        ManifestError: a variable of the runner that is missing, named with its place in argv.
    """
    rendered: list[str] = []
    for index, token in enumerate(preset.argv):
        if token.source is Source.RESERVED:
            value = reserved[token.text]
            rendered.extend([value] if isinstance(value, str) else value)
        else:
            rendered.append(_argument(_fill(token, params, env, f"$.argv[{index}]", preset.name)))
    return tuple(rendered)


def render_config(
    preset: Preset, params: Mapping[str, Any], env: Mapping[str, str]
) -> dict[str, Any]:
    """The job's config as JSON data, with `{param}` filled by its typed value.

    Raises:
        ManifestError: a variable of the runner that is missing, named with its path.
    """

    def fill(value: Any, path: str) -> Any:
        if isinstance(value, str):
            return _fill(parse_token(value), params, env, path, preset.name)
        if isinstance(value, Mapping):
            return {key: fill(inner, f"{path}.{key}") for key, inner in value.items()}
        if isinstance(value, tuple):
            return [fill(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        return value

    return {key: fill(inner, f"$.config.{key}") for key, inner in preset.config.items()}


def render_inputs(
    preset: Preset, params: Mapping[str, Any], env: Mapping[str, str]
) -> dict[str, Input]:
    """Where each input of a job comes from, by role.

    Raises:
        ManifestError: a variable of the runner that is missing, named with its path.
    """
    inputs: dict[str, Input] = {}
    for role, token in preset.inputs.items():
        if token.source is Source.LITERAL:
            inputs[role] = Input(role, "asset", token.text.removeprefix("asset:"))
        else:
            kind = "path" if token.source is Source.ENV else "artifact"
            value = _fill(token, params, env, f"$.inputs.{role}", preset.name)
            inputs[role] = Input(role, kind, str(value))
    return inputs


def render_spec(
    preset: Preset, params: Mapping[str, Any], predictions: Sequence[Prediction] = ()
) -> dict[str, Any]:
    """What the judge is given: metrics, gates, plots, plan, the params and the predictions.

    The shape is that of `evidence.spec.parse_spec`.
    """
    document = preset.document
    return {
        "metrics": document.get("metrics", []),
        "gates": document.get("gates", []),
        "plots": document.get("plots", []),
        "plan": document.get("plan", {}),
        "params": dict(params),
        "predictions": [_render_prediction(prediction) for prediction in predictions],
    }


def _render_prediction(prediction: Prediction) -> dict[str, Any]:
    fields = {"id": prediction.id, "text": prediction.text, "credence": prediction.credence}
    if prediction.rule is None:
        return fields
    return {**fields, "rule": canonical.thaw(prediction.rule)}


def _fill(
    token: Token, params: Mapping[str, Any], env: Mapping[str, str], path: str, preset: str
) -> Scalar:
    if token.source is Source.PARAM:
        value: Scalar = params[token.text]
        return value
    if token.source is Source.ENV:
        if not env.get(token.text):
            raise ManifestError(
                f"the runner has no variable {token.text}",
                where=f"preset {preset}, {path}",
                remedy=f"set {token.text} in the runner's environment and restart it",
            )
        return env[token.text]
    return token.text


def _argument(value: Scalar) -> str:
    """A typed value as one argument: `true`, `false`, canonical numbers, strings as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value)


def example_command(preset: Preset) -> str:
    """A command that runs the preset: its required params, or else its first one, by example."""
    required = [param for param in preset.params.values() if param.default is None]
    chosen = required or list(preset.params.values())[:1]
    words = ["kakeya_remote", "run", preset.name]
    for param in chosen:
        words += ["-p", f"{param.name}={_argument(param.example())}"]
    return shlex.join([*words, "--wait"])
