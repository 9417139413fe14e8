"""From the ended jobs of a campaign to its records: each one verified, then pooled and judged.

Whoever drives does this, with the presets and the evaluator of its own trusted checkout. Nothing
has to be believed: the record is derived from samples that lie beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import canonical, schema
from bridge.bus.chain import Chain
from bridge.bus.course import Course
from bridge.bus.requester import RequesterBus
from bridge.canonical import digest_bytes, encode
from bridge.cells import SEED, Cell, cells_of, check_cell, show_value
from bridge.errors import IntegrityError, KakeyaError, RefusedError
from bridge.plans import Decision, Node
from bridge.records import clean_text
from evidence.judge import write_reports
from evidence.record import Assembled, Material, assemble
from evidence.sign import BUNDLE_NAME
from evidence.sweep import (
    Axes,
    Part,
    campaign_samples,
    campaign_spec,
    cover_of,
    hours_of,
    pool_facts,
    pool_samples,
    widen_spec,
)
from evidence.verify import require_sound, verify
from presets.binding import render_spec
from presets.catalog import Catalog
from presets.definition import Preset

EVIDENCE, SAMPLES = "evidence.json", "samples.jsonl"
_KEPT = frozenset({EVIDENCE, SAMPLES, "report.md", "report.html", BUNDLE_NAME})
_MAX_RECORD_BYTES = 32 * 2**20
_MAX_WHY = 400

Seal = Callable[[bytes], bytes]
"""Signs a record: the bundle that goes beside it."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A record of many runs, and its files by name."""

    record: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Of the record's file."""
        return digest_bytes(self.files[EVIDENCE])

    @property
    def verdict(self) -> str:
        """Of all blocking gates."""
        return str(self.record["result"]["gates"])


def axes_of(node: Node) -> Axes:
    """A node's axes as the evidence reads them."""
    places = {axis.param: tuple(map(show_value, axis.values)) for axis in node.axes}
    seeds = places.pop(SEED, ())
    return Axes(places, seeds, tuple(cell.name for cell in cells_of(node)))


def spec_of(node: Node, preset: Preset) -> dict[str, Any]:
    """The spec that a node's record is judged by, fixed by the plan."""
    return widen_spec(render_spec(preset, node.params), axes_of(node), node.gates)


def preset_of(node: Node, catalog: Catalog) -> Preset:
    """The preset of a node, in the version that the plan names.

    Raises:
        RefusedError: this checkout has another one.
    """
    preset = catalog.get(node.preset.name)
    if preset.digest != node.preset.digest:
        raise RefusedError(
            f"the plan has {preset.name} as {node.preset.digest[:19]}, here it is "
            f"{preset.digest[:19]}",
            where=f"node {node.id}",
            remedy="drive it from the checkout that it was started from",
        )
    return preset


def read_part(bus: RequesterBus, course: Course, cell: Cell, chain: Chain | None) -> Part:
    """What came of a cell; its evidence is verified before anything else looks at it.

    Args:
        bus: where the job's files are.
        course: the campaign.
        cell: one of its cells that was launched.
        chain: the ended job, None where its ref is gone and the ledger does not hold it.
    """
    assert course.plan is not None
    at = {key: show_value(value) for key, value in cell.values.items() if key != SEED}
    row: dict[str, Any] = {"job": course.launched[cell.node, cell.name]}
    if chain is None or chain.result is None:
        return Part(cell.name, at, why="its ref is gone, and the ledger does not hold it", row=row)
    result = chain.result
    row |= {"state": result.state, "by": result.by, "evidence": result.evidence}
    row |= {"verdict": result.verdict, "reused_from": result.reused_from}
    if result.state != "done":
        return Part(cell.name, at, why=_short(f"{result.state}: {result.message}"), row=row)
    try:
        if chain.request is None:
            raise IntegrityError("its request cannot be read")
        check_cell(chain.request, course.plan, cell)
        record, samples = _read_sound(bus, chain)
    except KakeyaError as error:
        return Part(cell.name, at, why=_short(f"integrity: {error}"), row=row)
    return Part(cell.name, at, record, samples, row=row)


def _short(text: str) -> str:
    return clean_text(text, _MAX_WHY)


def _read_sound(bus: RequesterBus, chain: Chain) -> tuple[Mapping[str, Any], bytes]:
    """A job's record and samples.

    Raises:
        IntegrityError: it has none, they are not the result's, or the one does not follow from
            the other.
    """
    wanted = [chain.files[name] for name in (EVIDENCE, SAMPLES) if name in chain.files]
    if len(wanted) < 2:
        raise IntegrityError("it left no record with samples")
    bus.fetch_files(wanted)
    data, samples = (bus.read(oid) for oid in wanted)
    assert chain.result is not None
    if digest_bytes(data) != chain.result.evidence:
        raise IntegrityError("its record is not the one that the result names")
    with tempfile.TemporaryDirectory(prefix="kakeya-part-") as name:
        folder = Path(name)
        (folder / EVIDENCE).write_bytes(data)
        (folder / SAMPLES).write_bytes(samples)
        found = verify(folder)
    require_sound(found, chain.job.id)
    if found.record["request"].get("digest") != chain.request_digest:
        raise IntegrityError("its record is of another request")
    return found.record, samples


def pool_node(
    course: Course, node: Node, preset: Preset, parts: Sequence[Part], seal: Seal | None
) -> tuple[Pooled, Decision]:
    """The record of a node, and what it decides."""
    cells = [cell.name for cell in cells_of(node)]
    params = {**canonical.thaw(node.params)}
    for axis in node.axes:
        params[axis.param] = list(axis.values)
    facts = {
        **_facts(course, node.id),
        **pool_facts(parts),
        "preset": {"name": node.preset.name, "digest": node.preset.digest, "params": params},
        "cover": cover_of(cells, parts),
    }
    facts["non_claims"] = _tell_missing(facts["cover"], parts)
    pooled = _judge(facts, spec_of(node, preset), pool_samples(parts), seal)
    record = pooled.record
    gates = {row["id"]: row["verdict"] for row in record["gates"]}
    gates |= {row["id"]: row["gate"]["verdict"] for row in record["predictions"] if row["gate"]}
    hours = sum(hours_of(part.record) for part in parts if part.record is not None)
    ran = len(facts["cover"]["cells"])
    return pooled, Decision(
        node.id, pooled.verdict, pooled.digest, gates, ran, len(cells), round(hours, 6)
    )


def pool_campaign(course: Course, whys: Mapping[str, str], seal: Seal | None) -> Pooled:
    """The record of a campaign of several nodes.

    Args:
        course: with every node decided or closed.
        whys: path of each planned cell to why it does not count, "" where it does.
        seal: signs the record.
    """
    plan = course.plan
    assert plan is not None
    paths = {node.id: [cell.path for cell in cells_of(node)] for node in plan.nodes}
    verdicts = {
        node: course.decisions[node].verdict if node in course.decisions else None for node in paths
    }
    cells = {node: {path: whys[path] for path in found} for node, found in paths.items()}
    ran = [path for path, why in whys.items() if not why]
    rows = [{"n": n, "cell": path, "why": why} for n, (path, why) in enumerate(whys.items(), 1)]
    missing = {path: why for path, why in whys.items() if why}
    facts = {
        **_facts(course, None),
        "preset": {"name": plan.name, "params": {}},
        "code": {"commit": plan.code},
        "attempts": rows,
        "cover": {"cells": ran, "planned": list(whys), "missing": list(missing)},
        "non_claims": _tell(ran, missing),
        "sets": {node: [item.evidence] for node, item in course.decisions.items()},
    }
    return _judge(facts, campaign_spec(paths), campaign_samples(cells, verdicts), seal)


def _facts(course: Course, node: str | None) -> dict[str, Any]:
    plan = course.plan
    assert plan is not None
    return {
        "id": course.id,
        "request": {
            "digest": course.plan_digest,
            "commit": course.plan_oid,
            "requested_by": plan.requested_by,
            "requested_at": plan.requested_at,
            "amends": plan.amends,
            "campaign": {"id": plan.id, "name": plan.name, "node": node},
        },
    }


def _tell_missing(cover: Mapping[str, Sequence[str]], parts: Sequence[Part]) -> str:
    whys = {part.cell: part.why for part in parts}
    return _tell(cover["cells"], {cell: whys.get(cell, "") for cell in cover["missing"]})


def _tell(ran: Sequence[str], missing: Mapping[str, str]) -> str:
    told = "; ".join(f"{cell} ({why})" for cell, why in list(missing.items())[:40])
    more = f"; and {len(missing) - 40} more" if len(missing) > 40 else ""
    lacking = f" Not run: {told}{more}." if missing else " Every planned cell ran."
    return f"Cells planned: {len(ran) + len(missing)}, run: {len(ran)}.{lacking}"


def _judge(
    facts: Mapping[str, Any], spec: Mapping[str, Any], samples: bytes, seal: Seal | None
) -> Pooled:
    assembled: Assembled = assemble(Material(facts=facts, spec=spec, samples=samples))
    schema.check(assembled.record, schema.load("evidence", "evidence"), where=EVIDENCE)
    data = encode(assembled.record) + b"\n"
    files = {EVIDENCE: data, SAMPLES: samples}
    with tempfile.TemporaryDirectory(prefix="kakeya-pool-") as name:
        written, _ = write_reports(assembled, Path(name))
        files |= {path.name: path.read_bytes() for path in written if path.name in _KEPT}
    if seal is not None:
        files[BUNDLE_NAME] = seal(data)
    return Pooled(assembled.record, files)
