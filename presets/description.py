"""A preset as one JSON object for people and programs: what it takes, needs, bounds and judges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge import canonical
from evidence.gates.power import smallest_n
from evidence.spec import Spec, parse_spec
from presets.assets import Asset
from presets.binding import example_command, render_spec
from presets.catalog import Catalog
from presets.definition import Preset
from presets.params import Param
from presets.tokens import Source

_PARAM_FIELDS = ("min", "max", "values", "pattern", "max_length", "prefix")


def describe_catalog(catalog: Catalog, source: str) -> dict[str, Any]:
    """All presets in short: schema `kakeya.presets/1`."""
    return {
        "schema": "kakeya.presets/1",
        "source": source,
        "presets": [
            {
                "name": preset.name,
                "description": preset.description,
                "digest": preset.digest,
                "params": list(preset.params),
                "labels": list(preset.labels),
                "resources": dataclasses.asdict(preset.resources),
                "executors": list(preset.executors),
                "wall_s": preset.limits.wall_s,
                "gates": len(preset.gates),
                "command": example_command(preset),
            }
            for preset in catalog.presets.values()
        ],
    }


def describe_preset(preset: Preset, assets: Mapping[str, Asset], source: str) -> dict[str, Any]:
    """One preset in full: schema `kakeya.preset/1`.

    Args:
        preset: the preset.
        assets: the asset table, for what its inputs are.
        source: where it was read.
    """
    document = preset.document
    return {
        "schema": "kakeya.preset/1",
        "source": source,
        "name": preset.name,
        "description": preset.description,
        "digest": preset.digest,
        "command": example_command(preset),
        "argv": document["argv"],
        "config": document.get("config", {}),
        "params": [describe_param(param) for param in preset.params.values()],
        "inputs": [_describe_input(role, preset, assets) for role in preset.inputs],
        "labels": list(preset.labels),
        "resources": dataclasses.asdict(preset.resources),
        "limits": dataclasses.asdict(preset.limits),
        "executors": list(preset.executors),
        "env": list(preset.env),
        "secrets": list(preset.secrets),
        "retry_exit_codes": list(preset.retry_exit_codes),
        "checkpoint": document.get("checkpoint"),
        "plan": document.get("plan"),
        "metrics": document.get("metrics", []),
        "gates": _describe_gates(preset),
        "plots": document.get("plots", []),
    }


def describe_param(param: Param) -> dict[str, Any]:
    """One param with its bounds as data and, in `bounds`, as text."""
    entry: dict[str, Any] = {
        "name": param.name,
        "kind": param.kind,
        "required": param.default is None,
        "default": param.default,
        "bounds": param.bounds(),
        "example": param.example(),
        "doc": param.doc,
    }
    for key in _PARAM_FIELDS:
        if hasattr(param, key):
            entry[key] = canonical.thaw(getattr(param, key))
    return entry


def _describe_input(role: str, preset: Preset, assets: Mapping[str, Asset]) -> dict[str, Any]:
    token = preset.inputs[role]
    if token.source is Source.ENV:
        return {"role": role, "kind": "path", "variable": token.text}
    if token.source is Source.PARAM:
        return {"role": role, "kind": "artifact", "param": token.text}
    asset = assets[token.text.removeprefix("asset:")]
    fields = {**dataclasses.asdict(asset), "files": list(asset.files)}
    return {"role": role, "kind": "asset", "asset": fields}


def _describe_gates(preset: Preset) -> list[dict[str, Any]]:
    spec: Spec = parse_spec(render_spec(preset, {}))
    rules = {gate["id"]: gate["rule"] for gate in preset.document.get("gates", [])}
    return [
        {
            "id": gate.id,
            "rule": rules[gate.id],
            "text": rule_text(rules[gate.id]),
            "decide": gate.decide.by,
            "blocking": gate.blocking,
            "needs": list(gate.needs),
            "smallest_n": smallest_n(gate.rule, gate.decide).n,
            "note": gate.note,
        }
        for gate in spec.gates
    ]


def rule_text(rule: Mapping[str, Any]) -> str:
    """A gate's rule as a person would say it, such as `recall[full] >= 0.9`."""
    if "each" in rule:
        share = f" in {rule['min_frac']} of them" if "min_frac" in rule else ""
        return f"at each {rule['each']}{share}: {rule_text(rule['rule'])}"
    ((name, value),) = rule.items()
    say = _RULE_TEXTS.get(name)
    return say(value) if say else f"{name} {_plain(value)}"


_RULE_TEXTS: dict[str, Callable[[Any], str]] = {
    "cmp": lambda parts: f"{term_text(parts[0])} {parts[1]} {term_text(parts[2])}",
    "within": lambda parts: f"|{term_text(parts[0])} - {term_text(parts[1])}| <= {parts[2]}",
    "all": lambda rules: " and ".join(f"({rule_text(rule)})" for rule in rules),
    "any": lambda rules: " or ".join(f"({rule_text(rule)})" for rule in rules),
    "not": lambda rule: f"not ({rule_text(rule)})",
    "trend": lambda parts: f"{term_text(parts[0])} goes {parts[1]}",
}


def term_text(term: Any) -> str:
    """A term of a rule: a number, a metric with its arm and place, or a sum made of them."""
    if not isinstance(term, Mapping):
        return str(term)
    if "m" in term:
        places = [f"{key}={_plain(value)}" for key, value in term.get("at", {}).items()]
        inner = ", ".join([*([term["arm"]] if "arm" in term else []), *places])
        text = f"{term['m']}[{inner}]" if inner else str(term["m"])
        text = f"{term['stat']} of {text}" if "stat" in term else text
        return f"{text} of {term['base']}" if "base" in term else text
    ((name, value),) = term.items()
    if name == "abs":
        return f"|{term_text(value[0] if isinstance(value, Sequence) else value)}|"
    sign = "-" if name == "sub" else "/"
    return f"({term_text(value[0])} {sign} {term_text(value[1])})"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "{" + ", ".join(map(_plain, value)) + "}"
    return "*" if value is None else str(value)
