"""Whether a request fits its preset: one answer for client and runner. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime

from bridge.canonical import printable
from bridge.errors import ManifestError
from bridge.records import Request
from bridge.schema import MAX_MESSAGE, MAX_PROBLEMS
from evidence.spec import parse_spec
from presets.arguments import show, unsafe_path
from presets.binding import bind, render_spec
from presets.definition import Preset


def check_request(request: Request, preset: Preset) -> tuple[str, ...]:
    """Every reason why `request` must be rejected, each at its path; none where it fits.

    The preset's digest is not compared here: another version of a preset is no fault of the
    request, and a runner that has one declines it and names both.

    Args:
        request: parsed by `bridge.records`, so its shape is right.
        preset: of the name that the request gives.
    """
    problems = (
        *_check_names(request, preset),
        *_check_params(request, preset),
        *_check_labels(request, preset),
        *_check_resources(request, preset),
        *_check_sources(request, preset),
    )
    # The plan may name params, so that the spec is read once the params fit.
    return problems or tuple(_check_spec(request, preset))


def _check_names(request: Request, preset: Preset) -> Iterator[str]:
    if request.preset.name != preset.name:
        yield f"$.preset.name: {show(request.preset.name)} is not {preset.name!r}"
    if request.executor is not None and request.executor not in preset.executors:
        allowed = ", ".join(preset.executors)
        yield f"$.executor: {preset.name} allows no {request.executor!r}, only {allowed}"
    if request.retry_of == request.id:
        yield "$.retry_of: a request cannot retry itself"
    try:
        # The schema's pattern lets 30 February by.
        datetime.strptime(request.requested_at, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        yield f"$.requested_at: {show(request.requested_at)} is no day of the calendar"


def _check_params(request: Request, preset: Preset) -> Iterator[str]:
    try:
        bound = bind(preset, request.params)
    except ManifestError as error:
        yield from error.problems
        return
    # A request says everything itself: a default that changes later must not change its meaning.
    for name in bound:
        if name not in request.params:
            yield f"$.params.{name}: missing; a request names every param, defaults too"


def _check_labels(request: Request, preset: Preset) -> Iterator[str]:
    if request.label not in request.labels:
        yield f"$.label: {request.label!r} is not among labels"
    for label in preset.labels:
        if label not in request.labels:
            yield f"$.labels: {label!r} is missing, which {preset.name} requires"


def _check_resources(request: Request, preset: Preset) -> Iterator[str]:
    for field in dataclasses.fields(preset.resources):
        asked, needed = (getattr(side.resources, field.name) for side in (request, preset))
        if asked < needed:
            yield f"$.resources.{field.name}: {asked} is less than the {needed} of {preset.name}"


def _check_sources(request: Request, preset: Preset) -> Iterator[str]:
    names = [name for name, param in preset.params.items() if param.kind == "artifact"]
    digests = {request.params.get(name) for name in names}
    for index, source in enumerate(request.sources):
        if source.digest not in digests:
            yield f"$.sources[{index}].digest: no artifact among the params has it"
        if reason := unsafe_path(source.path):
            yield f"$.sources[{index}].path: {show(source.path)} {reason}"


def _check_spec(request: Request, preset: Preset) -> Iterator[str]:
    try:
        parse_spec(render_spec(preset, request.params, request.predictions))
    except ManifestError as error:
        for problem in error.problems[:MAX_PROBLEMS]:
            yield printable(problem, MAX_MESSAGE)
