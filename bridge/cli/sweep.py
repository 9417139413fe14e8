"""`kakeya_remote run --matrix --seeds`: one preset over many values, as a campaign of one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.cli.campaign import begin, show_plan
from bridge.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from bridge.client import Client
    from presets.definition import Preset

_NOT_IN_A_SWEEP = {
    "manifest": "--manifest",
    "predictions": "--predict",
    "baselines": "--baseline",
    "amends": "--amends",
    "key": "--id",
    "queue_timeout_s": "--queue-timeout",
}


def run_sweep(client: Client, given: dict[str, Any], shared: dict[str, Any]) -> None:
    """Start the sweep that the options of `run` stand for, and follow it where that is wanted."""
    from bridge.client.draft import read_params
    from bridge.client.planning import sweep_document

    strange = [option for name, option in _NOT_IN_A_SWEEP.items() if given[name]]
    if strange or not given["preset"]:
        told = f"a sweep takes no {strange[0]}" if strange else "no preset is named"
        raise UsageError(told, where="run --matrix", remedy="write a campaign: docs/campaigns.md")
    preset = client.catalog()[0].get(given["preset"])
    values, problems = read_params(preset, given["params"])
    if problems:
        raise ManifestError("the params do not fit", where=preset.name, problems=problems)
    document = sweep_document(
        preset.name,
        values,
        read_matrix(preset, given["matrix"]),
        given["seeds"],
        labels=list(given["labels"]),
        priority=given["priority"],
        executor=given["executor"],
        fresh=given["fresh"] or None,
    )
    plan = client.campaigns.plan(document, code=given["code"] or "HEAD")
    if given["dry_run"]:
        show_plan(plan, as_json=shared["as_json"])
        return
    begin(
        client,
        plan,
        shared,
        given["push_code"],
        given["signing_key"],
        wait=given["wait"],
        timeout_s=given["timeout_s"],
    )


def read_matrix(preset: Preset, texts: tuple[str, ...]) -> dict[str, list[Any]]:
    """The axes of `NAME=V1,V2,...` texts, each value typed as the preset's param is.

    Raises:
        ManifestError: every value that does not fit, at its param.
    """
    from bridge.client.draft import read_params

    matrix: dict[str, list[Any]] = {}
    problems: list[str] = []
    for text in texts:
        name, equals, row = text.partition("=")
        if not equals or not row:
            raise UsageError(f"{text!r} is not NAME=V1,V2,...", where="--matrix")
        if name in matrix:
            problems.append(f"$.matrix.{name}: given twice")
        matrix[name] = []
        for word in row.split(","):
            values, found = read_params(preset, [f"{name}={word}"])
            problems += found
            matrix[name] += values.values()
    if problems:
        raise ManifestError("the matrix does not fit", where=preset.name, problems=tuple(problems))
    return matrix
