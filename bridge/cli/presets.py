"""`kakeya_remote presets`: what may be asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import merge_shared
from bridge.cli.output import print_json, print_line, print_table, say

if TYPE_CHECKING:
    from presets.catalog import Catalog

Rows = Sequence[Sequence[str]]


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from bridge.errors import KakeyaError

    try:
        return [name for name in _read(None)[0].presets if name.startswith(incomplete)]
    except KakeyaError:
        return []


@click.command("presets")
@click.argument("name", required=False, shell_complete=_complete)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Read the presets of this folder, edits included; default: those of the commit at HEAD.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def presets_command(name: str | None, folder: Path | None, **given: Any) -> None:
    """List the presets, or show one: params with bounds and defaults, limits, gates, a command.

    \b
    Examples:
      kakeya_remote presets
      kakeya_remote presets niah-smoke
      kakeya_remote presets --folder presets     # checks presets that are not committed yet
    """
    from presets.description import describe_catalog, describe_preset

    catalog, source = _read(folder)
    if name is None:
        described = describe_catalog(catalog, source)
    else:
        described = describe_preset(catalog.get(name), catalog.assets, source)
    if merge_shared(given)["as_json"]:
        print_json(described)
        return
    if name is None:
        _show_list(described)
    else:
        _show_one(described)
    say(f"read from {source}")


def _read(folder: Path | None) -> tuple[Catalog, str]:
    if folder is not None:
        from presets.catalog import load_catalog

        return load_catalog(folder), str(folder)
    from bridge.client.checkout import find_checkout, read_catalog

    return read_catalog(find_checkout(Path.cwd()))


def _show_list(described: dict[str, Any]) -> None:
    rows = [
        (
            preset["name"],
            ", ".join(preset["labels"]),
            _duration(preset["wall_s"]),
            str(preset["gates"]),
            preset["description"],
        )
        for preset in described["presets"]
    ]
    print_table("", ("preset", "labels", "at most", "gates", "what it does"), rows)


def _show_one(preset: dict[str, Any]) -> None:
    print_line(f"{preset['name']}: {preset['description']}")
    print_line(f"\nrun it\n  {preset['command']}")
    _show("params", ("name", "kind", "bounds", "default", "what it is"), _param_rows(preset))
    _show("inputs", ("role", "from", "what it is"), _input_rows(preset))
    _show("gates", ("gate", "rule", "decided by", "blocks", "can pass from"), _gate_rows(preset))
    columns = ("metric", "reducer", "by", "unit", "better", "what it is")
    _show("metrics", columns, _metric_rows(preset))
    _show("limits and needs", ("what", "value"), _limit_rows(preset))


def _show(title: str, columns: Sequence[str], rows: Rows) -> None:
    if not rows:
        return
    print_line("")
    if not sys.stdout.isatty():
        print_line(title)
    print_table(title, columns, rows)


def _param_rows(preset: dict[str, Any]) -> Rows:
    return [
        (
            param["name"],
            param["kind"],
            param["bounds"],
            "required" if param["required"] else json.dumps(param["default"]),
            param["doc"],
        )
        for param in preset["params"]
    ]


def _input_rows(preset: dict[str, Any]) -> Rows:
    return [(entry["role"], *_origin(entry)) for entry in preset["inputs"]]


def _origin(entry: dict[str, Any]) -> tuple[str, str]:
    if entry["kind"] == "path":
        return f"variable {entry['variable']}", "a path on the runner"
    if entry["kind"] == "artifact":
        return f"param {entry['param']}", "an artifact of another job, by digest"
    asset = entry["asset"]
    size = f"{asset['bytes'] / 2**20:.1f} MiB"
    origin = f"{asset['package']}=={asset['version']}, {size}"
    return origin, f"{asset['doc']} ({asset['licence']})"


def _gate_rows(preset: dict[str, Any]) -> Rows:
    return [
        (
            gate["id"],
            gate["text"],
            "interval" if gate["decide"] == "ci" else "point",
            "yes" if gate["blocking"] else "no",
            "never" if gate["smallest_n"] is None else f"n = {gate['smallest_n']}",
        )
        for gate in preset["gates"]
    ]


def _metric_rows(preset: dict[str, Any]) -> Rows:
    return [
        (
            metric["name"],
            metric["reducer"],
            ", ".join(metric.get("by", ["arm"])),
            str(metric.get("unit", "1")),
            metric.get("better", "higher"),
            metric.get("doc", ""),
        )
        for metric in preset["metrics"]
    ]


def _limit_rows(preset: dict[str, Any]) -> Rows:
    limits, needs = preset["limits"], preset["resources"]
    gpus = f", {needs['gpus']} GPU of {needs['gpu_memory_mb']} MiB" if needs["gpus"] else ""
    rows = {
        "labels": ", ".join(preset["labels"]),
        "needs": f"{needs['cpus']} CPU, {needs['memory_mb']} MiB{gpus}",
        "executors": ", ".join(preset["executors"]),
        "wall clock": f"{_duration(limits['wall_s'])}, then {limits['grace_s']} s to end",
        "memory": f"{limits['memory_mb']} MiB",
        "output": f"{limits['output_mb']} MiB printed, {limits['disk_mb']} MiB of files",
        "plan": json.dumps(preset["plan"]) if preset["plan"] else "",
        "variables": ", ".join(preset["env"]),
        "secrets": ", ".join(preset["secrets"]),
        "retried on exit": ", ".join(map(str, preset["retry_exit_codes"])),
        "checkpoint": _checkpoint(preset["checkpoint"]),
        "argv": json.dumps(preset["argv"]),
        "config": json.dumps(preset["config"]) if preset["config"] else "",
        "digest": preset["digest"],
    }
    return [(title, text) for title, text in rows.items() if text]


def _checkpoint(rule: dict[str, Any] | None) -> str:
    if rule is None:
        return ""
    return f"up to {rule['max_mb']} MiB to the bus, every {_duration(rule['every_s'])}"


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)
