"""A workload run whole, in this process, from a job file as a runner writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from presets.binding import bind, render_config
from presets.definition import parse_preset
from workloads.__main__ import main
from workloads.shared import job

PRESETS = Path(__file__).resolve().parents[1] / "presets"


def render(name: str, **params: Any) -> dict[str, Any]:
    """The config that a preset of the house hands to the job; inputs are the caller's."""
    preset = parse_preset((PRESETS / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    return render_config(preset, bind(preset, params), {})


def write_job(
    folder: Path,
    config: Mapping[str, Any],
    inputs: Mapping[str, object] | None = None,
    *,
    name: str = "out",
) -> Path:
    """A job file in `folder`; jobs of other names there go on from the same checkpoint."""
    folder.mkdir(exist_ok=True)
    document = {
        "schema": job.SCHEMA,
        "out": str(folder / name),
        "checkpoint": str(folder / "checkpoint"),
        "inputs": {role: str(path) for role, path in (inputs or {}).items()},
        "config": config,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def run_job(
    workload: str,
    folder: Path,
    config: Mapping[str, Any],
    inputs: Mapping[str, object] | None = None,
    *,
    name: str = "out",
) -> Path:
    """The out folder of a job that ended well."""
    assert main([workload, "--job", str(write_job(folder, config, inputs, name=name))]) == 0
    return folder / name


def read_rows(out: Path, *, timed: bool = False) -> list[dict[str, Any]]:
    """The samples; without their times, which differ from run to run, unless asked for."""
    lines = (out / "samples.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) | ({} if timed else {"t_ms": None}) for line in lines]


def read_facts(out: Path) -> dict[str, Any]:
    """What the job stated of itself."""
    found: dict[str, Any] = json.loads((out / "facts.json").read_text("utf-8"))
    return found
