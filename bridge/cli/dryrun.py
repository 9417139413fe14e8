"""What `run --dry-run` shows: the manifest, the argv, and how many samples each gate needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.records import Request
from bridge.wire import to_json
from evidence.gates.power import smallest_n
from evidence.spec import parse_spec
from executors.contract import OUT, bootstrap_tokens
from presets.binding import render_argv, render_config, render_spec
from presets.definition import Preset

_FOLDER = Path("{job_dir}")
_VARIABLE = re.compile(r"\$\{ENV:([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Preview:
    """A request as it would be sent, and what it would run; nothing was sent.

    Attributes:
        argv: with `{job_dir}`, `{python}` and `${ENV:NAME}` standing for what a runner fills in.
        config: of the job, filled in the same way.
        needs: for each gate, the smallest number of samples at which it can pass.
    """

    manifest: Mapping[str, Any]
    argv: tuple[str, ...]
    config: Mapping[str, Any]
    needs: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The preview as `--json` prints it."""
        return {
            "schema": "kakeya.preview/1",
            "manifest": dict(self.manifest),
            "argv": list(self.argv),
            "config": dict(self.config),
            "needs": list(self.needs),
        }


def preview(preset: Preset, request: Request) -> Preview:
    """What `request` would run."""
    reserved = {
        "python": bootstrap_tokens("{python}", _FOLDER),
        "job": str(_FOLDER / "job.json"),
        "out": str(_FOLDER / OUT),
    }
    named = {name: f"${{ENV:{name}}}" for name in _variables(preset)}
    return Preview(
        manifest=to_json(request),
        argv=render_argv(preset, request.params, reserved, named),
        config=render_config(preset, request.params, named),
        needs=tuple(_needs(preset, request)),
    )


def _variables(preset: Preset) -> set[str]:
    """The runner's variables that a preset names anywhere."""
    return set(_VARIABLE.findall(json.dumps(preset.document)))


def _needs(preset: Preset, request: Request) -> list[str]:
    spec = parse_spec(render_spec(preset, request.params, request.predictions))
    lines = []
    for gate in spec.gates:
        need = smallest_n(gate.rule, gate.decide)
        why = f" ({need.why})" if need.why else ""
        told = "no n is enough" if need.n is None else f"can pass from n = {need.n} on"
        lines.append(f"gate {gate.id}: {told}{why}")
    return lines
