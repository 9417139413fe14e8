"""From what a requester wrote to a request: every fault at its path, found before anything is sent.

A draft is JSON data with some of a request's fields; the others are filled in from the preset, the
bus and the clock. A manifest is a whole request, taken as it stands or not at all. The runner
checks all of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import canonical, wire
from bridge.errors import KakeyaError, ManifestError
from bridge.records import Prediction, Request
from bridge.wire import MAX_REQUEST_BYTES
from presets.admission import check_request
from presets.arguments import show
from presets.binding import bind, parse_param_text
from presets.catalog import Catalog
from presets.definition import Preset

DEFAULT_PRIORITY = 5
SEALED = frozenset({"schema", "id", "bus", "nonce", "requested_by", "requested_at"})
"""Fields that only a whole manifest has: with any of them there, none is filled in."""
_REMEDY = "correct each line above; kakeya_remote presets {name} shows params and bounds"


@dataclass(frozen=True, slots=True)
class Frame:
    """What the client itself puts into every request and plan.

    Attributes:
        id: of the new job or campaign.
        bus: the bus's own id.
        code: full oid of the code commit.
        labels: added to the preset's own.
        requested_by: who asks.
        requested_at: UTC time, `YYYY-MM-DDTHH:MM:SSZ`.
        nonce: fresh randomness.
    """

    id: str
    bus: str
    code: str
    labels: tuple[str, ...]
    requested_by: str
    requested_at: str
    nonce: str


def read_draft(data: bytes, *, where: str) -> dict[str, Any]:
    """A draft from a file, strictly.

    Raises:
        ManifestError: no JSON object, duplicate keys, NaN, too deep or too large.
    """
    where = f"request in {where}"
    value = canonical.decode(data, where=where, max_bytes=MAX_REQUEST_BYTES)
    if not isinstance(value, dict):
        raise ManifestError(f"$.schema: {show(value)} is no object", where=where)
    return value


def is_manifest(draft: Mapping[str, Any]) -> bool:
    """Whether a draft is meant as a whole request."""
    return bool(SEALED & draft.keys())


def check_manifest(manifest: Mapping[str, Any], catalog: Catalog, bus_id: str) -> Request:
    """The request that a whole manifest is; nothing is filled in.

    Raises:
        ManifestError: `problems` holds every fault at its path.
    """
    request: Request = wire.from_json("request", dict(manifest), where="request")
    preset = catalog.get(request.preset.name)
    problems = list(_misfits(request, preset, bus_id))
    owner = next((n for n, p in catalog.presets.items() if p.digest == request.preset.digest), None)
    if owner not in (None, preset.name):
        problems.append(f"$.preset.name: {preset.name!r}, but the digest is that of {owner}")
    if problems:
        raise _refusal(preset, problems)
    return request


def compose_draft(
    preset: Preset,
    params: Mapping[str, Any],
    *,
    labels: Sequence[str] = (),
    predictions: Sequence[Prediction] = (),
    **fields: Any,
) -> dict[str, Any]:
    """A draft of typed parts; `labels` come on top of the preset's, `fields` count unless None."""
    draft = {key: value for key, value in fields.items() if value is not None}
    draft |= {"preset": preset.name, "params": dict(params)}
    if labels:
        draft["labels"] = list(dict.fromkeys((*preset.labels, *labels)))
    if predictions:
        draft["predictions"] = [_prediction(item) for item in predictions]
    return draft


def _prediction(prediction: Prediction) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": prediction.id,
        "text": prediction.text,
        "credence": prediction.credence,
    }
    return data if prediction.rule is None else {**data, "rule": canonical.thaw(prediction.rule)}


def draft_request(
    draft: Mapping[str, Any], catalog: Catalog, frame: Frame, *, texts: Sequence[str] = ()
) -> Request:
    """The request that a draft or a whole manifest stands for.

    Args:
        draft: what the requester wrote.
        catalog: the presets that may be named.
        frame: what the client adds.
        texts: params as `NAME=VALUE`, laid over those of the draft.

    Raises:
        ManifestError: `problems` holds every fault at its path.
    """
    if is_manifest(draft) and not texts:
        return check_manifest(draft, catalog, frame.bus)
    preset = choose_preset(catalog, draft)
    values, problems = read_params(preset, texts)
    given = draft.get("params", {})
    if texts and isinstance(given, Mapping):
        draft = {**draft, "params": {**given, **values}}
    return complete(draft, preset, frame, problems=problems)


def choose_preset(catalog: Catalog, draft: Mapping[str, Any]) -> Preset:
    """The preset that a draft names.

    Raises:
        ManifestError: it names none, or one that is not there.
    """
    named = draft.get("preset")
    name = named.get("name") if isinstance(named, Mapping) else named
    if not isinstance(name, str):
        raise ManifestError(
            f"{show(name)} is no name of a preset",
            where="$.preset.name",
            remedy="kakeya_remote presets lists them",
        )
    return catalog.get(name)


def read_params(preset: Preset, texts: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Typed params of `NAME=VALUE` texts, and the faults of those that cannot be read."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for text in texts:
        name = text.partition("=")[0]
        try:
            value = parse_param_text(preset, [text])
        except ManifestError as error:
            problems += error.problems
            continue
        except KakeyaError as error:
            problems.append(f"$.params: {error.message}")
            continue
        if name in values:
            problems.append(f"$.params.{name}: given twice")
        values |= value
    return values, tuple(problems)


def complete(
    draft: Mapping[str, Any], preset: Preset, frame: Frame, *, problems: Sequence[str] = ()
) -> Request:
    """The request that a draft stands for.

    Args:
        draft: what the requester wrote.
        preset: the preset it names.
        frame: what the client adds.
        problems: faults found already, to be told together with those found here.

    Raises:
        ManifestError: `problems` holds every fault at its path.
    """
    found = list(problems)
    params = _bind(preset, draft.get("params", {}), found)
    data = {**_defaults(preset, frame), **draft}
    data["params"] = params
    named = draft.get("preset")
    given = named if isinstance(named, Mapping) else {}
    data["preset"] = {"name": preset.name, "digest": preset.digest, **given}
    request = _check(data, found)
    if request is not None:
        found += _misfits(request, preset, frame.bus)
    if found or request is None:
        raise _refusal(preset, found)
    return request


def _refusal(preset: Preset, problems: Sequence[str]) -> ManifestError:
    return ManifestError(
        "no runner would take this request",
        where=f"request for {preset.name}",
        remedy=_REMEDY.format(name=preset.name),
        problems=tuple(dict.fromkeys(problems)),
    )


def _defaults(preset: Preset, frame: Frame) -> dict[str, Any]:
    return {
        "schema": f"kakeya.request/{wire.PROTOCOL}",
        "id": frame.id,
        "bus": frame.bus,
        "code": frame.code,
        "label": preset.labels[0],
        "labels": list(dict.fromkeys((*preset.labels, *frame.labels))),
        "resources": {
            "cpus": preset.resources.cpus,
            "memory_mb": preset.resources.memory_mb,
            "gpus": preset.resources.gpus,
            "gpu_memory_mb": preset.resources.gpu_memory_mb,
        },
        "priority": DEFAULT_PRIORITY,
        "nonce": frame.nonce,
        "requested_by": frame.requested_by,
        "requested_at": frame.requested_at,
    }


def _bind(preset: Preset, params: object, problems: list[str]) -> Any:
    """Complete params, or what was given where it does not fit; faults told already are kept."""
    told = {problem.partition(":")[0] for problem in problems}
    try:
        return bind(preset, params)
    except ManifestError as error:
        problems += [line for line in error.problems if line.partition(":")[0] not in told]
        return params


def _check(data: dict[str, Any], problems: list[str]) -> Request | None:
    try:
        size = len(canonical.encode(data))
        if size > MAX_REQUEST_BYTES:
            problems.append(f"$: {size} bytes, at most {MAX_REQUEST_BYTES} are taken")
            return None
        request: Request = wire.from_json("request", data, where="request")
    except KakeyaError as error:
        told = {problem.partition(":")[0] for problem in problems}
        faults = error.problems or (error.message,)
        problems += [line for line in faults if line.partition(":")[0] not in told]
        return None
    return request


def _misfits(request: Request, preset: Preset, bus_id: str) -> tuple[str, ...]:
    problems = list(check_request(request, preset))
    if request.preset.digest != preset.digest:
        problems.append(
            f"$.preset.digest: {request.preset.digest}, here {preset.name} has {preset.digest}"
        )
    if request.bus != bus_id:
        problems.append(f"$.bus: written for {request.bus}, this bus is {bus_id}")
    return tuple(problems)
