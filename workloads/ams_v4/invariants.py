"""The six invariants of seed 001 (section 6), measured on a live store."""

from __future__ import annotations

import torch

from workloads.ams_v4.attention import PREFIX
from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.bundles import NAMES
from workloads.ams_v4.kakeya import ALIGNMENT_TOLERANCE
from workloads.ams_v4.memory import Memory, Store
from workloads.ams_v4.sessions import Exam, fill_stores

RECONSTRUCTION_LIMIT = 0.15


@torch.no_grad()  # type: ignore[untyped-decorator]
def measure_invariants(memory: Memory, backbone: Backbone, exam: Exam) -> dict[str, float]:
    """Figures of the first session of an exam, by the name of the invariant that they decide."""
    told = backbone.read_sessions(exam.sessions[:1])
    asked = backbone.read_prompts(exam.questions()[:1], told)
    entries, places = memory.encode(told), memory.encode(asked)
    (store,) = fill_stores(memory, told, entries, backbone.width)
    fields = {name: value[0] for name, value in memory.fields(told, entries).items()}
    errors = torch.cat(list(store.registry.errors(fields).values()))
    prefix = memory.recall(asked, places, entries)
    return {
        "triples": float(count_triples(store)),
        "raw_fields": float(count_raw_fields(store)),
        "active_sets": float(sum(one.active for one in store.registry.sets.values())),
        "misalignment": store.registry.misalignment(memory.axes),
        "reconstruction": float(errors.median()),
        "prefix_slots": float(prefix.shape[2]) if prefix.shape[3] == backbone.width else 0.0,
    }


def count_triples(store: Store) -> int:
    """Fewest triples that an entry has whose id every tree holds."""
    known = set(store.entries)
    if any(tree.ids != known for tree in store.trees.values()):
        return 0
    return min(len(entry.triples) for entry in store.entries.values())


def count_raw_fields(store: Store) -> int:
    """Tensors in the entries that are as wide as the language model."""
    wide: int = sum(
        tensor.shape[-1] >= store.width
        for entry in store.entries.values()
        for triple in entry.triples.values()
        for tensor in (triple.base, triple.fiber, triple.direction)
    )
    return wide + sum(
        kept.floats >= store.width
        for entry in store.entries.values()
        for kept in entry.handles.values()
    )


def holds(figures: dict[str, float]) -> dict[str, bool]:
    """Which invariants hold."""
    return {
        "triples": figures["triples"] == len(NAMES),
        "raw_fields": figures["raw_fields"] == 0,
        "active_sets": figures["active_sets"] >= 2,
        "misalignment": figures["misalignment"] <= ALIGNMENT_TOLERANCE,
        "reconstruction": figures["reconstruction"] <= RECONSTRUCTION_LIMIT,
        "prefix_slots": figures["prefix_slots"] == PREFIX,
    }
